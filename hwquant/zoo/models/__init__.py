# SPDX-License-Identifier: Apache-2.0
"""Networks small enough to train in minutes, all traceable by `torch.fx`, one family a module."""
