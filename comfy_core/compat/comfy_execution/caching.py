"""Names of ComfyUI's caches. The executor keeps results in its own way; these refuse to be made."""

from comfy_core.packs.later import inside_class

BasicCache = inside_class("comfy_execution.caching.BasicCache")
HierarchicalCache = inside_class("comfy_execution.caching.HierarchicalCache")
LRUCache = inside_class("comfy_execution.caching.LRUCache")
DependencyAwareCache = inside_class("comfy_execution.caching.DependencyAwareCache")
CacheKeySet = inside_class("comfy_execution.caching.CacheKeySet")
CacheKeySetID = inside_class("comfy_execution.caching.CacheKeySetID")
CacheKeySetInputSignature = inside_class("comfy_execution.caching.CacheKeySetInputSignature")
