/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SHIM_LINUX_COMPILER_H
#define SHIM_LINUX_COMPILER_H

#include "../shim.h"

/* Atomic, for the thread sanitizer; with room for an interrupt at each. */
#define READ_ONCE(x)							\
	({								\
		shim_interruptible();					\
		__atomic_load_n(&(x), __ATOMIC_RELAXED);		\
	})
#define WRITE_ONCE(x, v)						\
	do {								\
		shim_interruptible();					\
		__atomic_store_n(&(x), v, __ATOMIC_RELAXED);		\
		shim_interruptible();					\
	} while (0)

#endif
