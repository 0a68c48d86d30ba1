# SPDX-License-Identifier: Apache-2.0
"""RTL library and kernel generator."""
