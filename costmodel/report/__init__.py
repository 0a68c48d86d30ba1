# SPDX-License-Identifier: Apache-2.0
"""Figures and the offline page of a run."""
