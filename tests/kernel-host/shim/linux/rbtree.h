/* SPDX-License-Identifier: GPL-2.0-only */
/* A binary search tree that nobody balances, behind the kernel's names. */
#ifndef SHIM_LINUX_RBTREE_H
#define SHIM_LINUX_RBTREE_H

#include <stddef.h>

struct rb_node {
	struct rb_node *rb_parent;
	struct rb_node *rb_left;
	struct rb_node *rb_right;
};

struct rb_root {
	struct rb_node *rb_node;
};

#define RB_ROOT	((struct rb_root){ NULL })

#define rb_entry(ptr, type, member) \
	((type *)((char *)(ptr) - offsetof(type, member)))

static inline void rb_link_node(struct rb_node *node, struct rb_node *parent,
				struct rb_node **link)
{
	node->rb_parent = parent;
	node->rb_left = NULL;
	node->rb_right = NULL;
	*link = node;
}

static inline void rb_insert_color(struct rb_node *node, struct rb_root *root)
{
	(void)node;
	(void)root;
}

void rb_erase(struct rb_node *node, struct rb_root *root);
struct rb_node *rb_first(const struct rb_root *root);
struct rb_node *rb_last(const struct rb_root *root);
struct rb_node *rb_next(const struct rb_node *node);
struct rb_node *rb_prev(const struct rb_node *node);
struct rb_node *rb_first_postorder(const struct rb_root *root);
struct rb_node *rb_next_postorder(const struct rb_node *node);

#define shim_rb_entry_or_null(ptr, type, member) \
	((ptr) ? rb_entry(ptr, type, member) : NULL)

#define rbtree_postorder_for_each_entry_safe(pos, n, root, field)	\
	for (pos = shim_rb_entry_or_null(rb_first_postorder(root),	\
					 __typeof__(*pos), field);	\
	     pos && (n = shim_rb_entry_or_null(				\
			     rb_next_postorder(&pos->field),		\
			     __typeof__(*pos), field), true);		\
	     pos = n)

#endif
