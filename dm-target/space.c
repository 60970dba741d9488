// SPDX-License-Identifier: GPL-2.0-only
/*
 * The space of a store. What it promises stands in the header.
 */
#include <linux/bug.h>
#include <linux/errno.h>
#include <linux/gfp.h>
#include <linux/minmax.h>
#include <linux/slab.h>

#include "space.h"
#include "gfp_try.h"

/*
 * How many freed extents one allocation looks at for one that is long enough.
 * A crumbled store costs larger I/O then, but not time under the lock.
 */
#define MAX_STEPS		32

/* Freed extents neither overlap nor touch. */
struct free_extent {
	struct rb_node node;
	u64 place;
	u64 nr;
};

static struct free_extent *to_extent(struct rb_node *node)
{
	return node ? rb_entry(node, struct free_extent, node) : NULL;
}

static u64 extent_end(const struct free_extent *extent)
{
	return extent->place + extent->nr;
}

void space_init(struct space *space, u64 nr_places)
{
	*space = (struct space){
		.nr_places = nr_places,
		.freed = RB_ROOT,
	};
}

void space_destroy(struct space *space)
{
	struct free_extent *extent, *next;

	rbtree_postorder_for_each_entry_safe(extent, next, &space->freed, node)
		kfree(extent);

	space_init(space, 0);
}

static void remove_extent(struct space *space, struct free_extent *extent)
{
	rb_erase(&extent->node, &space->freed);
	kfree(extent);
}

/* The first freed extent that ends after @place. */
static struct free_extent *first_ending_after(struct space *space, u64 place)
{
	struct rb_node *node = space->freed.rb_node;
	struct free_extent *found = NULL;

	while (node) {
		struct free_extent *extent = to_extent(node);

		if (extent_end(extent) > place) {
			found = extent;
			node = node->rb_left;
		} else {
			node = node->rb_right;
		}
	}

	return found;
}

static struct free_extent *next_around(struct space *space,
				       struct free_extent *extent)
{
	struct rb_node *node = rb_next(&extent->node);

	return to_extent(node ? node : rb_first(&space->freed));
}

/* From the cursor on, an extent of @want chunks or else the longest in reach. */
static struct free_extent *find_freed(struct space *space, unsigned int want)
{
	struct free_extent *first, *extent, *longest;
	unsigned int steps;

	first = first_ending_after(space, space->cursor);
	if (!first)
		first = to_extent(rb_first(&space->freed));
	if (!first)
		return NULL;

	longest = first;
	extent = first;
	for (steps = 0; longest->nr < want && steps < MAX_STEPS; steps++) {
		extent = next_around(space, extent);
		if (extent == first)
			break;
		if (extent->nr > longest->nr)
			longest = extent;
	}

	return longest;
}

unsigned int space_alloc(struct space *space, unsigned int want, place_t *place)
{
	struct free_extent *extent;
	unsigned int nr;

	if (space->log_head < space->nr_places) {
		nr = min_t(u64, want, space->nr_places - space->log_head);
		*place = to_place(space->log_head);
		space->log_head += nr;
		return nr;
	}

	extent = find_freed(space, want);
	if (!extent)
		return 0;

	nr = min_t(u64, want, extent->nr);
	*place = to_place(extent->place);
	space->cursor = extent->place + nr;
	space->nr_freed -= nr;

	/* Shortening it at the front does not change the order in the tree. */
	extent->place += nr;
	extent->nr -= nr;
	if (!extent->nr)
		remove_extent(space, extent);

	return nr;
}

static void insert_extent(struct space *space, struct free_extent *new)
{
	struct rb_node **link = &space->freed.rb_node;
	struct rb_node *parent = NULL;

	while (*link) {
		parent = *link;
		if (new->place < to_extent(parent)->place)
			link = &parent->rb_left;
		else
			link = &parent->rb_right;
	}

	rb_link_node(&new->node, parent, link);
	rb_insert_color(&new->node, &space->freed);
}

void space_free(struct space *space, place_t place, unsigned int nr)
{
	struct free_extent *left, *right;
	u64 start = from_place(place);
	u64 end = start + nr;

	if (!nr)
		return;

	/* What was never handed out cannot come back. */
	if (WARN_ON_ONCE(end < start || end > space->log_head))
		return;

	/* The neighbour to the right ends after our start, if it is free. */
	right = first_ending_after(space, start);
	if (WARN_ON_ONCE(right && right->place < end))
		return;

	if (right)
		left = to_extent(rb_prev(&right->node));
	else
		left = to_extent(rb_last(&space->freed));
	if (left && extent_end(left) < start)
		left = NULL;
	if (right && right->place > end)
		right = NULL;

	if (left && right) {
		left->nr += nr + right->nr;
		remove_extent(space, right);
	} else if (left) {
		left->nr += nr;
	} else if (right) {
		/* Still behind all that were before it. */
		right->place = start;
		right->nr += nr;
	} else {
		struct free_extent *new;

		new = kmalloc(sizeof(*new), GFP_TRY);
		if (!new) {
			space->nr_lost += nr;
			return;
		}
		new->place = start;
		new->nr = nr;
		insert_extent(space, new);
	}

	space->nr_freed += nr;
}

int space_grow(struct space *space, u64 nr_places)
{
	if (nr_places < space->nr_places)
		return -EINVAL;

	/* The log goes on by itself, as it looks at the size each time. */
	space->nr_places = nr_places;
	return 0;
}
