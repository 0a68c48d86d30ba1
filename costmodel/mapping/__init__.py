# SPDX-License-Identifier: Apache-2.0
"""Technology mapping in small: how many LUTs the logic of a pair of formats takes."""
