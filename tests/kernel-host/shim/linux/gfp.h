/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SHIM_LINUX_GFP_H
#define SHIM_LINUX_GFP_H

#include <linux/types.h>

#define __GFP_KSWAPD_RECLAIM	0x1u
#define __GFP_DIRECT_RECLAIM	0x2u
#define __GFP_IO		0x4u
#define __GFP_NOWARN		0x8u
#define __GFP_NOMEMALLOC	0x10u
#define GFP_NOWAIT		__GFP_KSWAPD_RECLAIM
#define GFP_NOIO		(__GFP_KSWAPD_RECLAIM | __GFP_DIRECT_RECLAIM)
#define GFP_KERNEL		(GFP_NOIO | __GFP_IO)

#endif
