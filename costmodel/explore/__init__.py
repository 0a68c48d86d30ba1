# SPDX-License-Identifier: Apache-2.0
"""Exploration: spaces of formats, a resumable store, the sweep engine and Pareto fronts."""
