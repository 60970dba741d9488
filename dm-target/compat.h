/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * All that differs between kernels. HAVE_... come from Kbuild, which looks
 * into the kernel's headers.
 */
#ifndef DIFFSNAP_COMPAT_H
#define DIFFSNAP_COMPAT_H

#include <linux/blkdev.h>
#include <linux/workqueue.h>

#ifndef CONFIG_64BIT
#error "extents are published as single 64-bit words: 64-bit kernels only"
#endif

/* Since 6.17 alloc_workqueue() wants to be told that a queue is per CPU. */
#ifndef HAVE_WQ_PERCPU
#define WQ_PERCPU 0
#endif

/*
 * A device that implements write zeroes by itself must not inherit the lower
 * device's promise to unmap by them (6.17).
 */
static inline void limits_clear_wzeroes_unmap(struct queue_limits *limits)
{
#ifdef HAVE_WZEROES_UNMAP
	limits->max_hw_wzeroes_unmap_sectors = 0;
#endif
}

#endif /* DIFFSNAP_COMPAT_H */
