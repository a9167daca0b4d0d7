raise RuntimeError("a disabled pack is not imported")
