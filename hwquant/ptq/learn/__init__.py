# SPDX-License-Identifier: Apache-2.0
"""The trainer all learned methods share: blocks x rounding x loss terms x schedule.

`blocks` cuts the network, `walk` brings the data, `rounding` says what is learned, `terms` what
is minimised, `fit` runs the iterations, and `method` puts one of each together for a step.
"""
