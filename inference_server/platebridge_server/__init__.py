# SPDX-License-Identifier: Apache-2.0
"""The local inference server of Platebridge: socket, jobs, engines, worker, pipeline, models.

Never imports bpy or nuke.
"""
