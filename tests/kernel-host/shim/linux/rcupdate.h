/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A small RCU: what was given to kfree_rcu() is freed by shim_rcu_barrier(),
 * which waits for the readers that run.
 */
#ifndef SHIM_LINUX_RCUPDATE_H
#define SHIM_LINUX_RCUPDATE_H

#include <linux/types.h>

void rcu_read_lock(void);
void rcu_read_unlock(void);
void shim_kfree_rcu(void *object, struct rcu_head *head);

#define kfree_rcu(object, field) shim_kfree_rcu(object, &(object)->field)

#endif
