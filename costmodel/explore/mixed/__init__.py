# SPDX-License-Identifier: Apache-2.0
"""Mixed precision: a format for every layer, chosen by what each costs and how much it hurts."""
