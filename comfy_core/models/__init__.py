"""Model architectures, one file each, and the loader that tells them apart. They know no nodes and no folders."""
