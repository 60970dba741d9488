/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SHIM_LINUX_BITS_H
#define SHIM_LINUX_BITS_H

#include <limits.h>

#define BIT_ULL(nr)	(1ULL << (nr))
#define BITS_PER_LONG	(sizeof(long) * CHAR_BIT)

#endif
