/* SPDX-License-Identifier: GPL-2.0-only */
#include <linux/bits.h>
#include <stddef.h>

#define container_of(pointer, type, member) \
	((type *)((char *)(pointer) - offsetof(type, member)))
