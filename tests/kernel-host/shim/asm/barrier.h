/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SHIM_ASM_BARRIER_H
#define SHIM_ASM_BARRIER_H

#include <linux/compiler.h>

/* The thread sanitizer knows no fences; x86 needs none for these two. */
#if defined(__x86_64__)
#define smp_rmb()	__asm__ volatile("" ::: "memory")
#define smp_wmb()	__asm__ volatile("" ::: "memory")
#else
#define smp_rmb()	__atomic_thread_fence(__ATOMIC_ACQUIRE)
#define smp_wmb()	__atomic_thread_fence(__ATOMIC_RELEASE)
#endif

#define smp_acquire__after_ctrl_dep() smp_rmb()

#define smp_load_acquire(p)						\
	({								\
		shim_interruptible();					\
		__atomic_load_n(p, __ATOMIC_ACQUIRE);			\
	})
#define smp_store_release(p, v)						\
	do {								\
		shim_interruptible();					\
		__atomic_store_n(p, v, __ATOMIC_RELEASE);		\
		shim_interruptible();					\
	} while (0)

#endif
