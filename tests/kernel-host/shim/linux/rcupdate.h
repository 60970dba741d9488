/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A small RCU: what was given to kfree_rcu() is freed by shim_rcu_barrier(),
 * which waits for the readers that run; what was given to call_rcu() is called
 * by it.
 */
#ifndef SHIM_LINUX_RCUPDATE_H
#define SHIM_LINUX_RCUPDATE_H

#include <asm/barrier.h>
#include <linux/types.h>

void rcu_read_lock(void);
void rcu_read_unlock(void);
void shim_kfree_rcu(void *object, struct rcu_head *head);

#define kfree_rcu(object, field) shim_kfree_rcu(object, &(object)->field)
#define kvfree_rcu(object, field) kfree_rcu(object, field)

void call_rcu(struct rcu_head *head, void (*func)(struct rcu_head *head));
#define rcu_barrier() shim_rcu_barrier()

#define rcu_dereference(p)	smp_load_acquire(&(p))
#define rcu_dereference_protected(p, condition)	(p)
#define rcu_assign_pointer(p, v)	smp_store_release(&(p), v)
#define RCU_INIT_POINTER(p, v)	((void)((p) = (v)))

#endif
