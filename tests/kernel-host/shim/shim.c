// SPDX-License-Identifier: GPL-2.0-only
#include "shim.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/gfp.h>
#include <linux/rbtree.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/xarray.h>

/* Warnings */

static bool warnings_expected;
static unsigned int nr_warnings;

bool shim_warn_on(bool condition, const char *text, const char *file, int line)
{
	if (!condition)
		return false;

	if (!warnings_expected) {
		fprintf(stderr, "%s:%d: WARN_ON_ONCE(%s)\n", file, line, text);
		abort();
	}
	nr_warnings++;
	return true;
}

unsigned int shim_expect_warnings(bool expect)
{
	unsigned int nr = nr_warnings;

	warnings_expected = expect;
	nr_warnings = 0;
	return nr;
}

/* Memory */

static long allocations_left = -1;
static bool is_atomic;
static unsigned long nr_allocations;

void shim_fail_allocations_after(long nr)
{
	allocations_left = nr;
}

void shim_set_atomic(bool atomic)
{
	is_atomic = atomic;
}

unsigned long shim_nr_allocations(void)
{
	return nr_allocations;
}

static bool may_allocate(gfp_t gfp)
{
	nr_allocations++;
	if (is_atomic && (gfp & __GFP_DIRECT_RECLAIM)) {
		fprintf(stderr, "an allocation under a lock may sleep\n");
		abort();
	}
	if (allocations_left == 0)
		return false;
	if (allocations_left > 0)
		allocations_left--;
	return true;
}

void *kmalloc(size_t size, gfp_t gfp)
{
	void *object;

	if (!may_allocate(gfp))
		return NULL;

	object = malloc(size);
	if (!object)
		abort();
	/* Whoever relies on zeroes shall notice. */
	memset(object, 0xa5, size);
	return object;
}

void *kzalloc(size_t size, gfp_t gfp)
{
	void *object = kmalloc(size, gfp);

	if (object)
		memset(object, 0, size);
	return object;
}

void kfree(const void *object)
{
	free((void *)object);
}

struct kmem_cache *shim_kmem_cache(size_t size)
{
	struct kmem_cache *cache = malloc(sizeof(*cache));

	if (!cache)
		abort();
	cache->size = size;
	return cache;
}

void kmem_cache_destroy(struct kmem_cache *cache)
{
	free(cache);
}

/* Interrupts */

static __thread void (*interrupt_handler)(void *context);
static __thread void *interrupt_context;

void shim_set_interrupt(void (*handler)(void *context), void *context)
{
	interrupt_handler = handler;
	interrupt_context = context;
}

void shim_interruptible(void)
{
	void (*handler)(void *context) = interrupt_handler;

	if (!handler)
		return;

	interrupt_handler = NULL;
	handler(interrupt_context);
	/* The handler may have set itself another successor. */
	if (!interrupt_handler)
		interrupt_handler = handler;
}

/* RCU */

/* Never freed: a thread that ends leaves it, even, to the next barrier. */
struct reader {
	struct reader *next;
	unsigned long phase;	/* odd while in a critical section */
};

struct retired {
	struct retired *next;
	void *object;
	void (*func)(struct rcu_head *head);	/* or NULL: freed */
	struct rcu_head *head;
};

static pthread_mutex_t rcu_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct reader *readers;
static struct retired *retired;
static __thread struct reader *this_reader;
static __thread unsigned int rcu_nesting;

void rcu_read_lock(void)
{
	if (!this_reader) {
		this_reader = calloc(1, sizeof(*this_reader));
		if (!this_reader)
			abort();
		pthread_mutex_lock(&rcu_mutex);
		this_reader->next = readers;
		readers = this_reader;
		pthread_mutex_unlock(&rcu_mutex);
	}
	if (rcu_nesting++ == 0)
		__atomic_fetch_add(&this_reader->phase, 1, __ATOMIC_SEQ_CST);
}

void rcu_read_unlock(void)
{
	if (--rcu_nesting == 0)
		__atomic_fetch_add(&this_reader->phase, 1, __ATOMIC_SEQ_CST);
}

static void retire(struct retired what)
{
	struct retired *entry = malloc(sizeof(*entry));

	if (!entry)
		abort();
	*entry = what;
	pthread_mutex_lock(&rcu_mutex);
	entry->next = retired;
	retired = entry;
	pthread_mutex_unlock(&rcu_mutex);
}

void shim_kfree_rcu(void *object, struct rcu_head *head)
{
	/*
	 * RCU links the object by its head. What a reader would take for
	 * extents there depends on addresses; here it is what hurts most: all
	 * settled, or nothing.
	 */
	__atomic_store_n((u64 *)&head->next, (u64)511 << 45, __ATOMIC_RELAXED);
	shim_interruptible();
	__atomic_store_n((u64 *)&head->func, ~0ULL >> 1, __ATOMIC_RELAXED);
	shim_interruptible();

	retire((struct retired){ .object = object });
}

void call_rcu(struct rcu_head *head, void (*func)(struct rcu_head *head))
{
	retire((struct retired){ .func = func, .head = head });
}

static void wait_for_reader(struct reader *reader)
{
	/*
	 * Changes nothing, but is a write: a reader that begins after it sees
	 * all that was done before.
	 */
	unsigned long phase = __atomic_fetch_add(&reader->phase, 0,
						 __ATOMIC_SEQ_CST);

	while ((phase & 1) && phase == __atomic_load_n(&reader->phase,
						       __ATOMIC_SEQ_CST))
		sched_yield();
}

void shim_rcu_barrier(void)
{
	struct retired *list;
	struct reader *reader;

	if (rcu_nesting)
		abort();

	pthread_mutex_lock(&rcu_mutex);
	list = retired;
	retired = NULL;
	reader = readers;
	pthread_mutex_unlock(&rcu_mutex);

	if (!list)
		return;
	for (; reader; reader = reader->next)
		wait_for_reader(reader);

	while (list) {
		struct retired *next = list->next;

		if (list->func)
			list->func(list->head);
		else
			free(list->object);
		free(list);
		list = next;
	}
}

/* The xarray: a tree of constant height. */

#define XA_SHIFT	6
#define XA_SLOTS	(1 << XA_SHIFT)
#define XA_HEIGHT	4
#define XA_MAX		((1UL << (XA_SHIFT * XA_HEIGHT)) - 1)
/* sizeof(struct xa_node) on 64 bits */
#define XA_NODE_BYTES	576

#define ZERO_ENTRY	((void *)2UL)

struct shim_xa_node {
	void *slots[XA_SLOTS];
};

static size_t nr_xa_nodes;

size_t shim_xarray_bytes(void)
{
	return nr_xa_nodes * XA_NODE_BYTES;
}

void xa_init_flags(struct xarray *xa, gfp_t flags)
{
	(void)flags;
	xa->head = NULL;
	xa->locked = false;
}

static void free_xa_node(struct shim_xa_node *node, int level)
{
	if (!node)
		return;
	if (level > 0) {
		for (int i = 0; i < XA_SLOTS; i++)
			free_xa_node(node->slots[i], level - 1);
	}
	nr_xa_nodes--;
	kfree(node);
}

void xa_destroy(struct xarray *xa)
{
	free_xa_node(xa->head, XA_HEIGHT - 1);
	xa->head = NULL;
}

/* NULL if there is none and @gfp is NULL, or no memory. */
static void **find_slot(struct xarray *xa, unsigned long index,
			const gfp_t *gfp)
{
	void **slot = (void **)&xa->head;

	if (index > XA_MAX)
		abort();

	for (int level = XA_HEIGHT - 1; level >= 0; level--) {
		struct shim_xa_node *node;

		node = __atomic_load_n(slot, __ATOMIC_ACQUIRE);
		if (!node) {
			if (!gfp)
				return NULL;
			node = kmalloc(sizeof(*node), *gfp);
			if (!node)
				return NULL;
			nr_xa_nodes++;
			memset(node, 0, sizeof(*node));
			__atomic_store_n(slot, node, __ATOMIC_RELEASE);
		}
		slot = &node->slots[(index >> (level * XA_SHIFT)) %
				    XA_SLOTS];
	}

	return slot;
}

void *xa_load(struct xarray *xa, unsigned long index)
{
	void **slot = find_slot(xa, index, NULL);
	void *entry = NULL;

	shim_interruptible();
	if (slot)
		entry = __atomic_load_n(slot, __ATOMIC_ACQUIRE);
	shim_interruptible();
	return entry == ZERO_ENTRY ? NULL : entry;
}

void *__xa_store(struct xarray *xa, unsigned long index, void *entry,
		 gfp_t gfp)
{
	void **slot;
	void *old;

	if (!xa->locked || !entry)
		abort();

	slot = find_slot(xa, index, &gfp);
	if (!slot)
		return (void *)(long)-ENOMEM;

	old = *slot;
	/* Stricter than the kernel's, which may find room by chance. */
	if (!old && !may_allocate(gfp))
		return (void *)(long)-ENOMEM;

	shim_interruptible();
	__atomic_store_n(slot, entry, __ATOMIC_RELEASE);
	shim_interruptible();
	return old == ZERO_ENTRY ? NULL : old;
}

int __xa_insert(struct xarray *xa, unsigned long index, void *entry, gfp_t gfp)
{
	void **slot;

	/* Only reservations are made by it. */
	if (!xa->locked || entry)
		abort();

	slot = find_slot(xa, index, &gfp);
	if (!slot)
		return -ENOMEM;
	if (*slot)
		return -EBUSY;
	__atomic_store_n(slot, ZERO_ENTRY, __ATOMIC_RELEASE);
	return 0;
}

void *xa_find(struct xarray *xa, unsigned long *index)
{
	while (*index <= XA_MAX) {
		void *entry = xa->head;
		int level = XA_HEIGHT;

		while (entry && level > 0) {
			struct shim_xa_node *node = entry;

			level--;
			entry = node->slots[(*index >> (level * XA_SHIFT)) %
					    XA_SLOTS];
		}
		if (entry && entry != ZERO_ENTRY)
			return entry;
		/* Skips all that would lie below. */
		*index |= (1UL << (level * XA_SHIFT)) - 1;
		(*index)++;
	}

	return NULL;
}

/* The tree */

static struct rb_node **rb_link_to(struct rb_node *node, struct rb_root *root)
{
	if (!node->rb_parent)
		return &root->rb_node;
	if (node->rb_parent->rb_left == node)
		return &node->rb_parent->rb_left;
	return &node->rb_parent->rb_right;
}

static void rb_replace(struct rb_node *old, struct rb_node *new,
		       struct rb_root *root)
{
	*rb_link_to(old, root) = new;
	if (new)
		new->rb_parent = old->rb_parent;
}

void rb_erase(struct rb_node *node, struct rb_root *root)
{
	struct rb_node *next;

	if (!node->rb_left) {
		rb_replace(node, node->rb_right, root);
		return;
	}
	if (!node->rb_right) {
		rb_replace(node, node->rb_left, root);
		return;
	}

	/* The successor has no left child; it takes the node's position. */
	next = rb_next(node);
	if (next != node->rb_right) {
		rb_replace(next, next->rb_right, root);
		next->rb_right = node->rb_right;
		next->rb_right->rb_parent = next;
	}
	rb_replace(node, next, root);
	next->rb_left = node->rb_left;
	next->rb_left->rb_parent = next;
}

static struct rb_node *leftmost(struct rb_node *node)
{
	while (node && node->rb_left)
		node = node->rb_left;
	return node;
}

static struct rb_node *rightmost(struct rb_node *node)
{
	while (node && node->rb_right)
		node = node->rb_right;
	return node;
}

struct rb_node *rb_first(const struct rb_root *root)
{
	return leftmost(root->rb_node);
}

struct rb_node *rb_last(const struct rb_root *root)
{
	return rightmost(root->rb_node);
}

struct rb_node *rb_next(const struct rb_node *node)
{
	if (node->rb_right)
		return leftmost(node->rb_right);
	while (node->rb_parent && node->rb_parent->rb_right == node)
		node = node->rb_parent;
	return node->rb_parent;
}

struct rb_node *rb_prev(const struct rb_node *node)
{
	if (node->rb_left)
		return rightmost(node->rb_left);
	while (node->rb_parent && node->rb_parent->rb_left == node)
		node = node->rb_parent;
	return node->rb_parent;
}

static struct rb_node *deepest(struct rb_node *node)
{
	while (node && (node->rb_left || node->rb_right))
		node = node->rb_left ? node->rb_left : node->rb_right;
	return node;
}

struct rb_node *rb_first_postorder(const struct rb_root *root)
{
	return deepest(root->rb_node);
}

struct rb_node *rb_next_postorder(const struct rb_node *node)
{
	struct rb_node *parent = node->rb_parent;

	if (parent && node == parent->rb_left && parent->rb_right)
		return deepest(parent->rb_right);
	return parent;
}
