# SPDX-License-Identifier: Apache-2.0
"""The lab's oVirt engine: the REST API, with its temper."""
