// SPDX-License-Identifier: GPL-2.0-only
/*
 * The chunk map. What it promises stands in the header.
 *
 * Invariants of a region's extents, in the value and in the node form: they
 * are sorted by start, do not overlap, and no two neighbours could be one.
 * So one extent is one run, and there is one representation of each state.
 */
#include <linux/bits.h>
#include <linux/bug.h>
#include <linux/build_bug.h>
#include <linux/compiler.h>
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/minmax.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/stddef.h>
#include <asm/barrier.h>

#include "chunk_map.h"
#include "gfp_try.h"

/*
 * A packed extent, from the most significant bit:
 *
 *   1 bit	zero, lost to the tag of an xarray value
 *   9 bits	start in the region
 *   9 bits	number of chunks - 1
 *   1 bit	written to the image
 *  44 bits	place, all ones if released
 *
 * The start stands in front, so that packed extents sort like their starts.
 */
#define PLACE_BITS		(62 - 2 * REGION_SHIFT)
#define PLACE_RELEASED		(BIT_ULL(PLACE_BITS) - 1)
#define WRITTEN			BIT_ULL(PLACE_BITS)
#define NR_SHIFT		(PLACE_BITS + 1)
#define START_SHIFT		(NR_SHIFT + REGION_SHIFT)

struct extent {
	unsigned int start;
	unsigned int nr;
	enum run_state state;
	u64 place;		/* of no meaning if released: pack() drops it */
};

/*
 * The node form of a region. A reader without the lock takes the extents for
 * good only if seq was even and did not change meanwhile. It is no seqcount_t
 * because that one grows with lockdep, and because the readers here must not
 * wait for a writer that their own interrupt may have stopped.
 */
struct region_node {
	u32 seq;		/* odd during a change, and forever once retired */
	u16 nr;
	u16 cap;		/* constant; nr never exceeds it */
	union {
		struct rcu_head rcu;	/* of a retired node */
		DECLARE_FLEX_ARRAY(u64, extents);
	};
};

#define NODE_HEADER		offsetof(struct region_node, extents)

/*
 * What kmalloc() really hands out. From 16 extents on a new node is at least
 * half full, the header counted, hence at most 16 bytes per extent.
 */
static const u16 node_sizes[] = {
	32, 64, 96, 128, 192, 256, 512, 1024, 2048, 4096, MAP_NODE_MAX
};

/* What the lock's holder finds in a region. */
struct region {
	struct region_node *node;	/* NULL in the other two forms */
	const u64 *extents;
	unsigned int nr;
	u64 value;			/* the extent of the value form */
};

/* How a region's extents change: [begin, end) make room for the nr new ones. */
struct edit {
	unsigned int begin;
	unsigned int end;
	unsigned int nr;
	u64 extents[3];
	unsigned int forgotten[RUN_RELEASED + 1];	/* chunks, by old state */
};

static u64 pack(const struct extent *extent)
{
	u64 packed = (u64)extent->start << START_SHIFT |
		     (u64)(extent->nr - 1) << NR_SHIFT;

	switch (extent->state) {
	case RUN_RELEASED:
		return packed | PLACE_RELEASED;
	case RUN_WRITTEN:
		return packed | WRITTEN | extent->place;
	default:
		return packed | extent->place;
	}
}

static unsigned int packed_start(u64 packed)
{
	return packed >> START_SHIFT;
}

static unsigned int packed_nr(u64 packed)
{
	return ((packed >> NR_SHIFT) & (REGION_CHUNKS - 1)) + 1;
}

static unsigned int packed_end(u64 packed)
{
	return packed_start(packed) + packed_nr(packed);
}

/* How many of the chunks [start, end) of a region the extent covers. */
static unsigned int overlap(u64 packed, unsigned int start, unsigned int end)
{
	unsigned int from = max(packed_start(packed), start);
	unsigned int to = min(packed_end(packed), end);

	return from < to ? to - from : 0;
}

static struct extent unpack(u64 packed)
{
	struct extent extent = {
		.start = packed_start(packed),
		.nr = packed_nr(packed),
		.place = packed & (BIT_ULL(PLACE_BITS) - 1),
	};

	if (extent.place == PLACE_RELEASED)
		extent.state = RUN_RELEASED;
	else if (packed & WRITTEN)
		extent.state = RUN_WRITTEN;
	else
		extent.state = RUN_PRESERVED;

	return extent;
}

/* Keeps what lies before @end, which is within @extent. */
static struct extent cut_head(struct extent extent, unsigned int end)
{
	extent.nr = end - extent.start;
	return extent;
}

/* Keeps what lies from @start on, which is within @extent. */
static struct extent cut_tail(struct extent extent, unsigned int start)
{
	unsigned int skip = start - extent.start;

	extent.start += skip;
	extent.nr -= skip;
	extent.place += skip;
	return extent;
}

static bool can_merge(const struct extent *left, const struct extent *right)
{
	return left->start + left->nr == right->start &&
	       left->state == right->state &&
	       (left->state == RUN_RELEASED ||
		left->place + left->nr == right->place);
}

/*
 * The first extent that ends after chunk @pos of the region; @nr if none does.
 * Like covered(), it may be let loose on extents that are just being changed:
 * it stays within @nr and terminates whatever it reads.
 *
 * No extent is empty, so at most @pos of them end by @pos, and at most as many end
 * later as there are chunks from @pos on. What is left to be searched is at most what
 * a region has less than one extent for each chunk: nothing, after random writes to
 * all of it.
 */
static unsigned int first_ending_after(const u64 *extents, unsigned int nr,
				       unsigned int pos)
{
	unsigned int low = nr + pos > REGION_CHUNKS ? nr + pos - REGION_CHUNKS : 0;
	unsigned int high = min(nr, pos);

	while (low < high) {
		unsigned int mid = low + (high - low) / 2;

		if (packed_end(READ_ONCE(extents[mid])) > pos)
			high = mid;
		else
			low = mid + 1;
	}

	return low;
}

/* How many of the chunks [start, end) of a region the extents cover. */
static unsigned int covered(const u64 *extents, unsigned int nr,
			    unsigned int start, unsigned int end)
{
	unsigned int i = first_ending_after(extents, nr, start);
	unsigned int chunks = 0;

	for (; i < nr; i++) {
		unsigned int more = overlap(READ_ONCE(extents[i]), start, end);

		if (!more)
			break;
		chunks += more;
	}

	return chunks;
}

static size_t node_size(unsigned int nr)
{
	unsigned int i = 0;

	while (node_sizes[i] < NODE_HEADER + nr * sizeof(u64))
		i++;

	return node_sizes[i];
}

static size_t node_bytes(const struct region_node *node)
{
	return NODE_HEADER + node->cap * sizeof(u64);
}

static void node_change_begin(struct region_node *node)
{
	WRITE_ONCE(node->seq, node->seq + 1);
	/*
	 * Whoever sees one of the changes that follow sees the odd number when
	 * it looks again. Pairs with the smp_rmb() in peek_node().
	 */
	smp_wmb();
}

static void node_change_end(struct region_node *node)
{
	/*
	 * Whoever sees the even number sees all changes. Pairs with the
	 * smp_load_acquire() in peek_node().
	 */
	smp_store_release(&node->seq, node->seq + 1);
}

/*
 * Frees a node that the xarray no longer points to. Readers that hold it still
 * are told by the odd number not to believe it: RCU is about to write its list
 * over the extents.
 */
static void node_retire(struct chunk_map *map, struct region_node *node)
{
	map->nr_bytes -= node_bytes(node);
	node_change_begin(node);
	kfree_rcu(node, rcu);
}

static void node_edit(struct region_node *node, const struct edit *edit)
{
	unsigned int to = edit->begin + edit->nr;
	unsigned int tail = node->nr - edit->end;
	unsigned int i;

	node_change_begin(node);

	if (to > edit->end) {
		for (i = tail; i-- > 0;)
			WRITE_ONCE(node->extents[to + i],
				   node->extents[edit->end + i]);
	} else if (to < edit->end) {
		for (i = 0; i < tail; i++)
			WRITE_ONCE(node->extents[to + i],
				   node->extents[edit->end + i]);
	}
	for (i = 0; i < edit->nr; i++)
		WRITE_ONCE(node->extents[edit->begin + i], edit->extents[i]);
	WRITE_ONCE(node->nr, to + tail);

	node_change_end(node);
}

/* Makes a node of the spare memory, for @old's extents as changed by @edit. */
static struct region_node *node_build(const struct map_spare *spare,
				      const struct region *old,
				      const struct edit *edit)
{
	struct region_node *node = spare->node;
	unsigned int nr = 0;
	unsigned int i;

	for (i = 0; i < edit->begin; i++)
		node->extents[nr++] = old->extents[i];
	for (i = 0; i < edit->nr; i++)
		node->extents[nr++] = edit->extents[i];
	for (i = edit->end; i < old->nr; i++)
		node->extents[nr++] = old->extents[i];

	node->seq = 0;
	node->nr = nr;
	node->cap = (spare->size - NODE_HEADER) / sizeof(u64);

	return node;
}

static void *load_entry(const struct chunk_map *map, unsigned long index)
{
	/* xa_load() changes nothing, but was not declared so. */
	return xa_load((struct xarray *)&map->regions, index);
}

/*
 * Cannot fail where an entry or a reservation is. The interrupt flags are saved
 * so that it does not matter of what kind the caller's lock is.
 */
static int store_entry(struct chunk_map *map, unsigned long index, void *entry)
{
	unsigned long flags;
	void *old;

	/* Publishes by rcu_assign_pointer(): see chunk_map_peek(). */
	xa_lock_irqsave(&map->regions, flags);
	old = __xa_store(&map->regions, index, entry, GFP_TRY);
	xa_unlock_irqrestore(&map->regions, flags);

	return xa_err(old);
}

static void load_region(const struct chunk_map *map, unsigned long index,
			struct region *region)
{
	void *entry = load_entry(map, index);

	region->node = NULL;
	region->extents = &region->value;
	region->nr = 0;

	if (xa_is_value(entry)) {
		region->value = xa_to_value(entry);
		region->nr = 1;
	} else if (entry) {
		region->node = entry;
		region->extents = region->node->extents;
		region->nr = region->node->nr;
	}
}

void chunk_map_init(struct chunk_map *map, u64 nr_chunks)
{
	BUILD_BUG_ON(BITS_PER_LONG < 64);
	/* The sign bit is lost to the tag of a value. */
	BUILD_BUG_ON(START_SHIFT + REGION_SHIFT != BITS_PER_LONG - 1);
	BUILD_BUG_ON(sizeof(u64) != NODE_HEADER);
	BUILD_BUG_ON(PLACE_RELEASED != MAP_MAX_PLACES);
	/* RCU's list must fit into the smallest node. */
	BUILD_BUG_ON(sizeof(struct region_node) > 32);

	*map = (struct chunk_map){ .nr_chunks = nr_chunks };
	xa_init_flags(&map->regions, XA_FLAGS_LOCK_IRQ);
}

void chunk_map_destroy(struct chunk_map *map)
{
	unsigned long index;
	void *entry;

	xa_for_each(&map->regions, index, entry) {
		if (!xa_is_value(entry))
			kfree(entry);
		cond_resched();
	}
	xa_destroy(&map->regions);

	map->nr_preserved = 0;
	map->nr_written = 0;
	map->nr_released = 0;
	map->nr_bytes = 0;
}

static enum settled judge(unsigned int settled, unsigned int nr)
{
	if (!settled)
		return SETTLED_NONE;
	return settled == nr ? SETTLED_ALL : SETTLED_UNSURE;
}

static enum settled peek_node(const struct region_node *node,
			      unsigned int start, unsigned int end)
{
	unsigned int settled;
	u32 seq;

	/* Pairs with the smp_store_release() in node_change_end(). */
	seq = smp_load_acquire(&node->seq);
	if (seq & 1)
		return SETTLED_UNSURE;

	settled = covered(node->extents, READ_ONCE(node->nr), start, end);

	/* Pairs with the smp_wmb() in node_change_begin(). */
	smp_rmb();
	if (READ_ONCE(node->seq) != seq)
		return SETTLED_UNSURE;

	return judge(settled, end - start);
}

enum settled chunk_map_peek(const struct chunk_map *map, chunk_t chunk,
			    unsigned int nr)
{
	unsigned int start = chunk_in_region(chunk);
	unsigned int end = start + nr;
	enum settled settled;
	void *entry;

	/*
	 * A node that is replaced meanwhile stays allocated until the unlock.
	 * Its answer holds as of the load of the entry: whatever it misses, the
	 * xarray had not been told then, so that chunk_map_set() had not ended.
	 */
	rcu_read_lock();
	entry = load_entry(map, chunk_region(chunk));
	if (xa_is_value(entry))
		settled = judge(overlap(xa_to_value(entry), start, end), nr);
	else if (entry)
		settled = peek_node(entry, start, end);
	else
		settled = SETTLED_NONE;
	rcu_read_unlock();

	if (settled != SETTLED_ALL)
		return settled;

	/*
	 * Who is told that chunks are settled sees what was done before they
	 * were. A node's number was acquired, but a value was not. Pairs with
	 * the rcu_assign_pointer() that store_entry() ends in.
	 */
	smp_acquire__after_ctrl_dep();
	return SETTLED_ALL;
}

void chunk_map_lookup(const struct chunk_map *map, chunk_t chunk,
		      unsigned int max_nr, struct chunk_run *run)
{
	unsigned int start = chunk_in_region(chunk);
	unsigned int end = REGION_CHUNKS;
	struct region region;
	struct extent extent;
	unsigned int i;

	run->state = RUN_UNSETTLED;
	run->place = to_place(0);

	load_region(map, chunk_region(chunk), &region);
	i = first_ending_after(region.extents, region.nr, start);
	if (i < region.nr) {
		extent = unpack(region.extents[i]);
		if (extent.start > start) {
			end = extent.start;
		} else {
			extent = cut_tail(extent, start);
			end = extent.start + extent.nr;
			run->state = extent.state;
			if (extent.state != RUN_RELEASED)
				run->place = to_place(extent.place);
		}
	}

	run->nr = min(max_nr, end - start);
}

int chunk_map_reserve(struct chunk_map *map, chunk_t chunk, gfp_t gfp)
{
	unsigned long flags;
	int r;

	/* A region never leaves the map. */
	if (xa_load(&map->regions, chunk_region(chunk)))
		return 0;

	/*
	 * If @gfp may sleep, the lock is dropped for it, with interrupts on;
	 * so they were on before.
	 */
	xa_lock_irqsave(&map->regions, flags);
	r = __xa_insert(&map->regions, chunk_region(chunk), NULL, gfp);
	xa_unlock_irqrestore(&map->regions, flags);

	/* Reserved or in use already is as good. */
	return r == -EBUSY ? 0 : r;
}

/* Finds out what putting @new into @old changes. */
static void plan_edit(const struct region *old, const struct extent *new,
		      struct edit *edit)
{
	unsigned int end = new->start + new->nr;
	struct extent middle = *new;
	struct extent left = { .nr = 0 };
	struct extent right = { .nr = 0 };
	unsigned int i;

	*edit = (struct edit){ .nr = 0 };

	i = first_ending_after(old->extents, old->nr, new->start);
	edit->begin = i;
	for (; i < old->nr; i++) {
		struct extent extent = unpack(old->extents[i]);
		unsigned int extent_end = extent.start + extent.nr;

		if (extent.start >= end)
			break;
		if (extent.start < new->start)
			left = cut_head(extent, new->start);
		if (extent_end > end)
			right = cut_tail(extent, end);
		edit->forgotten[extent.state] += min(extent_end, end) -
						 max(extent.start, new->start);
	}
	edit->end = i;

	/* Extents that are only touched are of interest if they merge. */
	if (!left.nr && edit->begin > 0) {
		left = unpack(old->extents[edit->begin - 1]);
		if (can_merge(&left, new))
			edit->begin--;
		else
			left.nr = 0;
	}
	if (!right.nr && edit->end < old->nr) {
		right = unpack(old->extents[edit->end]);
		if (can_merge(new, &right))
			edit->end++;
		else
			right.nr = 0;
	}

	if (left.nr && can_merge(&left, &middle)) {
		middle.start = left.start;
		middle.place = left.place;
		middle.nr += left.nr;
	} else if (left.nr) {
		edit->extents[edit->nr++] = pack(&left);
	}
	if (right.nr && can_merge(&middle, &right)) {
		middle.nr += right.nr;
		right.nr = 0;
	}
	edit->extents[edit->nr++] = pack(&middle);
	if (right.nr)
		edit->extents[edit->nr++] = pack(&right);
}

/* Replaces @old by a node made of the spare memory. */
static int grow_region(struct chunk_map *map, unsigned long index,
		       const struct region *old, const struct edit *edit,
		       size_t needed, struct map_spare *spare)
{
	struct region_node *node;
	int r;

	if (!spare->node || spare->size < needed) {
		spare->needed = needed;
		return -EAGAIN;
	}

	node = node_build(spare, old, edit);
	r = store_entry(map, index, node);
	if (r)
		return r;

	map->nr_bytes += node_bytes(node);
	if (old->node)
		node_retire(map, old->node);

	spare->node = NULL;
	spare->size = 0;
	return 0;
}

static int apply_edit(struct chunk_map *map, unsigned long index,
		      const struct region *old, const struct edit *edit,
		      struct map_spare *spare)
{
	unsigned int nr = old->nr - (edit->end - edit->begin) + edit->nr;
	int r;

	if (nr == 1) {
		r = store_entry(map, index, xa_mk_value(edit->extents[0]));
		if (!r && old->node)
			node_retire(map, old->node);
		return r;
	}

	if (!old->node || nr > old->node->cap)
		return grow_region(map, index, old, edit, node_size(nr), spare);

	node_edit(old->node, edit);
	return 0;
}

static bool is_settable(const struct chunk_map *map, chunk_t chunk,
			const struct chunk_run *run)
{
	u64 start = from_chunk(chunk);
	u64 place = from_place(run->place);

	if (!run->nr || run->nr > REGION_CHUNKS - chunk_in_region(chunk) ||
	    start >= map->nr_chunks || run->nr > map->nr_chunks - start)
		return false;

	switch (run->state) {
	case RUN_PRESERVED:
	case RUN_WRITTEN:
		return place < PLACE_RELEASED &&
		       run->nr <= PLACE_RELEASED - place;
	case RUN_RELEASED:
		return true;
	default:
		return false;
	}
}

int chunk_map_set(struct chunk_map *map, chunk_t chunk,
		  const struct chunk_run *run, struct map_spare *spare)
{
	u64 *const nr_of[] = {
		[RUN_PRESERVED] = &map->nr_preserved,
		[RUN_WRITTEN] = &map->nr_written,
		[RUN_RELEASED] = &map->nr_released,
	};
	struct extent new = {
		.start = chunk_in_region(chunk),
		.nr = run->nr,
		.state = run->state,
		.place = from_place(run->place),
	};
	struct region old;
	struct edit edit;
	unsigned int state;
	int r;

	if (WARN_ON_ONCE(!is_settable(map, chunk, run)))
		return -EINVAL;

	load_region(map, chunk_region(chunk), &old);
	plan_edit(&old, &new, &edit);
	r = apply_edit(map, chunk_region(chunk), &old, &edit, spare);
	if (r)
		return r;

	for (state = RUN_PRESERVED; state <= RUN_RELEASED; state++)
		*nr_of[state] -= edit.forgotten[state];
	*nr_of[run->state] += run->nr;
	return 0;
}

int map_spare_fill(struct map_spare *spare, gfp_t gfp)
{
	if (spare->node && spare->size >= spare->needed)
		return 0;

	map_spare_release(spare);
	spare->node = kmalloc(spare->needed, gfp);
	if (!spare->node)
		return -ENOMEM;

	spare->size = spare->needed;
	return 0;
}

void map_spare_release(struct map_spare *spare)
{
	kfree(spare->node);
	spare->node = NULL;
	spare->size = 0;
}
