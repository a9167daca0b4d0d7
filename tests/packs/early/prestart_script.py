"""Runs before torch is imported; folders are there already."""

import os
import sys

import folder_paths
from server import PromptServer

PromptServer.instance.add_on_prompt_handler(lambda body: body)
there = os.path.isdir(folder_paths.get_output_directory())
os.environ["EARLY_PACK"] = f"{'torch' in sys.modules} {there}"
