"""Names of ComfyUI's caches. The executor keeps results in its own way; these refuse to be made."""

from comfy_core.packs.later import NO_INSIDES, later_class

BasicCache = later_class("comfy_execution.caching.BasicCache", NO_INSIDES)
HierarchicalCache = later_class("comfy_execution.caching.HierarchicalCache", NO_INSIDES)
LRUCache = later_class("comfy_execution.caching.LRUCache", NO_INSIDES)
DependencyAwareCache = later_class("comfy_execution.caching.DependencyAwareCache", NO_INSIDES)
CacheKeySet = later_class("comfy_execution.caching.CacheKeySet", NO_INSIDES)
CacheKeySetID = later_class("comfy_execution.caching.CacheKeySetID", NO_INSIDES)
CacheKeySetInputSignature = later_class("comfy_execution.caching.CacheKeySetInputSignature", NO_INSIDES)
