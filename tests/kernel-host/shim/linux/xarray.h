/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * As much of the kernel's xarray as is used, with what matters to its users:
 * loads take no lock, a reserved entry loads as NULL, storing into one needs
 * no memory, and storing where nothing was reserved does, always.
 */
#ifndef SHIM_LINUX_XARRAY_H
#define SHIM_LINUX_XARRAY_H

#include <errno.h>
#include <limits.h>

#include <linux/bug.h>
#include <linux/gfp.h>

#define XA_FLAGS_LOCK_IRQ	1u

struct shim_xa_node;

struct xarray {
	struct shim_xa_node *head;
	bool locked;
};

static inline void *xa_mk_value(unsigned long v)
{
	WARN_ON_ONCE((long)v < 0);
	return (void *)((v << 1) | 1);
}

static inline unsigned long xa_to_value(const void *entry)
{
	return (unsigned long)entry >> 1;
}

static inline bool xa_is_value(const void *entry)
{
	return (unsigned long)entry & 1;
}

static inline int xa_err(void *entry)
{
	if ((unsigned long)entry >= (unsigned long)-4095)
		return (int)(long)entry;
	return 0;
}

void xa_init_flags(struct xarray *xa, gfp_t flags);
void xa_destroy(struct xarray *xa);
void *xa_load(struct xarray *xa, unsigned long index);
void *__xa_store(struct xarray *xa, unsigned long index, void *entry,
		 gfp_t gfp);
int __xa_insert(struct xarray *xa, unsigned long index, void *entry, gfp_t gfp);
void *xa_find(struct xarray *xa, unsigned long *index);

/* One thread at a time changes an xarray; this only checks that it says so. */
#define xa_lock_irqsave(xa, flags)					\
	do {								\
		(flags) = 0;						\
		WARN_ON_ONCE((xa)->locked);				\
		(xa)->locked = true;					\
	} while (0)
#define xa_unlock_irqrestore(xa, flags)					\
	do {								\
		(void)(flags);						\
		(xa)->locked = false;					\
	} while (0)

#define xa_for_each(xa, index, entry)					\
	for (index = 0, entry = xa_find(xa, &index); entry;		\
	     index++, entry = xa_find(xa, &index))

#endif
