/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef DIFFSNAP_GFP_TRY_H
#define DIFFSNAP_GFP_TRY_H

#include <linux/gfp.h>

/*
 * GFP flags of an attempt that must not wait. Nor may it use the system's last
 * memory, as those who reclaim memory could, whose writes come this way: our own
 * reserves are for that.
 */
#define GFP_TRY	(GFP_NOWAIT | __GFP_NOWARN | __GFP_NOMEMALLOC)

/*
 * Of an attempt by a worker: it may reclaim what is to be had at once, but does not
 * stay in the allocator until others give memory back. Nothing could wake it there.
 */
#define GFP_RECLAIM \
	(GFP_NOIO | __GFP_NORETRY | __GFP_NOWARN | __GFP_NOMEMALLOC)

#endif /* DIFFSNAP_GFP_TRY_H */
