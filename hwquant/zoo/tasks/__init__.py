# SPDX-License-Identifier: Apache-2.0
"""What each task measures: pure functions of outputs and labels, one module a task."""
