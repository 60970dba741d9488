/* SPDX-License-Identifier: GPL-2.0-only */
/* What the tests see and steer of the kernel that is not there. */
#ifndef SHIM_H
#define SHIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Aborts the test, unless warnings are expected. Returns @condition. */
bool shim_warn_on(bool condition, const char *text, const char *file, int line);

/* From now on warnings are counted only; returns those of the last phase. */
unsigned int shim_expect_warnings(bool expect);

/* Lets @nr allocations succeed, then none; a negative @nr lets all succeed. */
void shim_fail_allocations_after(long nr);

/* Tells that a lock is held: an allocation that may sleep aborts the test. */
void shim_set_atomic(bool atomic);

/* Allocations so far, those that failed included. */
unsigned long shim_nr_allocations(void);

/* Bytes that the inner nodes of a kernel's xarrays would take. */
size_t shim_xarray_bytes(void);

/* Waits for all readers, then frees what kfree_rcu() was given. */
void shim_rcu_barrier(void);

/*
 * Calls @handler at each access to shared memory by this thread: before it,
 * and after it too if it is a store. As with an interrupt, no other comes in
 * while the handler runs. NULL ends it.
 */
void shim_set_interrupt(void (*handler)(void *context), void *context);

void shim_interruptible(void);

#ifdef __cplusplus
}
#endif

#endif
