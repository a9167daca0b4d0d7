"""What V3 packs know as `comfy_api`: one package for each version of the API, and older homes of some of its names."""
