# SPDX-License-Identifier: Apache-2.0
"""Several calibrated cameras: who is who between them, and one skeleton a person."""
