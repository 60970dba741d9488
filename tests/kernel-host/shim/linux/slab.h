/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SHIM_LINUX_SLAB_H
#define SHIM_LINUX_SLAB_H

#include <linux/gfp.h>

void *kmalloc(size_t size, gfp_t gfp);
void *kzalloc(size_t size, gfp_t gfp);
void kfree(const void *object);

struct kmem_cache {
	size_t size;
};

struct kmem_cache *shim_kmem_cache(size_t size);
void kmem_cache_destroy(struct kmem_cache *cache);

#define KMEM_CACHE(type, flags)	shim_kmem_cache(sizeof(struct type))
#define kmem_cache_alloc(cache, gfp)	kmalloc((cache)->size, gfp)
#define kmem_cache_free(cache, object)	((void)(cache), kfree(object))

#define struct_size(p, member, nr)	\
	(sizeof(*(p)) + (nr) * sizeof((p)->member[0]))

#endif
