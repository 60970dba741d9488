// SPDX-License-Identifier: GPL-2.0-only
/*
 * The change map: slots and leaves.
 */
#include <linux/compiler.h>
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <asm/barrier.h>

#include "change_map.h"
#include "gfp_try.h"

/* Intervals that stay exact when the older ones are merged. */
#define KEPT_EXACT	128

/* Slots that are looked at in one go. */
#define SLOTS_AT_ONCE	1024

/* An entry of the array of slots: 0, a leaf, or a number and this bit. */
#define ENTRY_NUMBER	1UL

struct change_leaf {
	u64 number;		/* no byte stands for a newer one */
	u64 base;		/* what the bytes are counted from */
	unsigned long frozen;	/* the entry before, for the view; may be 0 */
	struct rcu_head rcu;
	u8 newest;		/* the byte that stands for number */
	u8 bytes[LEAF_BLOCKS];	/* 0: never written */
};

struct change_slots {
	struct rcu_head rcu;
	unsigned long nr;
	unsigned long entry[];
};

static struct kmem_cache *leaf_cache;

/*
 * Entries
 */

static bool is_number(unsigned long entry)
{
	return entry & ENTRY_NUMBER;
}

static u64 entry_number(unsigned long entry)
{
	return entry >> 1;
}

static unsigned long number_entry(u64 number)
{
	return (number << 1) | ENTRY_NUMBER;
}

static struct change_leaf *entry_leaf(unsigned long entry)
{
	return (struct change_leaf *)entry;
}

static struct change_slots *locked_slots(const struct change_map *map)
{
	return rcu_dereference_protected(map->slots, true);
}

/*
 * Leaves
 */

static struct change_leaf *leaf_alloc(struct change_map *map)
{
	struct change_leaf *leaf = kmem_cache_alloc(leaf_cache, GFP_TRY);

	if (leaf)
		map->nr_leaves++;
	return leaf;
}

static void leaf_free_rcu(struct rcu_head *rcu)
{
	kmem_cache_free(leaf_cache, container_of(rcu, struct change_leaf, rcu));
}

/* Frees what @entry points to, with what is frozen there. */
static void entry_free(struct change_map *map, unsigned long entry)
{
	while (entry && !is_number(entry)) {
		struct change_leaf *leaf = entry_leaf(entry);

		entry = leaf->frozen;
		map->nr_leaves--;
		call_rcu(&leaf->rcu, leaf_free_rcu);
	}
}

/* 0: never written. */
static u64 exact_number(const struct change_leaf *leaf, unsigned int i)
{
	return leaf->bytes[i] ? leaf->base + leaf->bytes[i] : 0;
}

/* Numbers that are too old for the leaf are merged with its oldest. */
static u8 byte_for(const struct change_leaf *leaf, u64 number)
{
	return number > leaf->base ? number - leaf->base : 1;
}

/* A leaf that was just allocated, with all its blocks last written at @old. */
static void leaf_fill(struct change_leaf *leaf, u64 old, u64 number)
{
	leaf->number = number;
	leaf->base = number - 1;
	if (old)
		/* The byte for @old, or for what is merged with it, is 1. */
		leaf->base = max(old - 1, number - KEPT_EXACT);
	leaf->newest = number - leaf->base;
	leaf->frozen = 0;
	memset(leaf->bytes, old ? 1 : 0, sizeof(leaf->bytes));
}

/*
 * Makes @leaf one of the interval @number. Whoever looks without a lock finds
 * its former number until all else is done, and turns to the lock.
 */
static void leaf_advance(const struct change_map *map, struct change_leaf *leaf, u64 number)
{
	u64 newest = number - leaf->base;
	unsigned int i;

	if (newest > U8_MAX) {
		u64 base = number - KEPT_EXACT, shift = base - leaf->base;

		for (i = 0; i < LEAF_BLOCKS; i++) {
			u8 byte = leaf->bytes[i];

			if (byte > shift)
				byte -= shift;
			else if (byte && leaf->base + byte > map->forgotten)
				byte = 1;
			else
				byte = 0;
			WRITE_ONCE(leaf->bytes[i], byte);
		}
		leaf->base = base;
		newest = KEPT_EXACT;
	}
	WRITE_ONCE(leaf->newest, newest);
	/* Pairs with the acquire in change_map_marked(). */
	smp_store_release(&leaf->number, number);
}

static struct change_leaf *leaf_copy(struct change_map *map, const struct change_leaf *old)
{
	struct change_leaf *leaf = leaf_alloc(map);

	if (leaf) {
		leaf->number = old->number;
		leaf->base = old->base;
		leaf->newest = old->newest;
		leaf->frozen = 0;
		memcpy(leaf->bytes, old->bytes, sizeof(leaf->bytes));
	}
	return leaf;
}

/*
 * Marking
 */

/*
 * Readies @slot for marks of the interval @number; what it said before stays
 * for the view, if it belongs there. Returns NULL if all blocks are marked.
 */
static struct change_leaf *writable_leaf(struct change_map *map, unsigned long *slot,
				  u64 number)
{
	unsigned long entry = *slot;
	bool keep = map->view && number > map->view && entry;
	struct change_leaf *leaf;

	if (!entry || is_number(entry)) {
		u64 old = entry_number(entry);

		if (old == number)
			return NULL;
		leaf = leaf_alloc(map);
		if (leaf)
			leaf_fill(leaf, old > map->forgotten ? old : 0, number);
	} else {
		leaf = entry_leaf(entry);
		if (leaf->number == number)
			return leaf;
		if (!keep) {
			leaf_advance(map, leaf, number);
			return leaf;
		}
		leaf = leaf_copy(map, leaf);
		if (leaf)
			leaf_advance(map, leaf, number);
	}

	if (!leaf) {
		/* For the view, too, all has changed then. */
		WRITE_ONCE(*slot, number_entry(number));
		entry_free(map, entry);
		return NULL;
	}
	if (keep)
		leaf->frozen = entry;
	/* Who finds the leaf finds it complete. */
	smp_store_release(slot, (unsigned long)leaf);
	return leaf;
}

static void mark_bytes(struct change_leaf *leaf, unsigned int first, unsigned int last)
{
	for (; first <= last; first++)
		WRITE_ONCE(leaf->bytes[first], leaf->newest);
}

/* Part of a range, in one leaf. */
static void mark_in_leaf(struct change_map *map, unsigned long *slot,
			 unsigned int first, unsigned int last)
{
	struct change_leaf *leaf;

	if (!first && last == LEAF_BLOCKS - 1 && !map->view) {
		unsigned long entry = *slot;

		WRITE_ONCE(*slot, number_entry(map->number));
		entry_free(map, entry);
		return;
	}
	leaf = writable_leaf(map, slot, map->number);
	if (leaf)
		mark_bytes(leaf, first, last);
}

/* Likewise, in what the view sees. The slot's own entry is of this interval. */
static void mark_in_frozen(struct change_map *map, unsigned long *slot,
			   unsigned int first, unsigned int last)
{
	struct change_leaf *leaf;

	/* A number stands for the view, too. */
	if (!map->view || is_number(*slot))
		return;
	leaf = writable_leaf(map, &entry_leaf(*slot)->frozen, map->view);
	if (leaf)
		mark_bytes(leaf, first, last);
}

static void mark(struct change_map *map, u64 first, u64 last, bool view)
{
	struct change_slots *slots = locked_slots(map);

	while (first <= last) {
		u64 end = min(last, first | (LEAF_BLOCKS - 1));
		unsigned long *slot = &slots->entry[first >> LEAF_SHIFT];
		unsigned int from = first & (LEAF_BLOCKS - 1);
		unsigned int to = end & (LEAF_BLOCKS - 1);

		mark_in_leaf(map, slot, from, to);
		if (view)
			mark_in_frozen(map, slot, from, to);
		first = end + 1;
	}
}

void change_map_mark(struct change_map *map, u64 first, u64 last)
{
	mark(map, first, last, false);
}

void change_map_mark_view(struct change_map *map, u64 first, u64 last)
{
	mark(map, first, last, true);
}

bool change_map_marked(const struct change_map *map, u64 first, u64 last)
{
	struct change_slots *slots = rcu_dereference(map->slots);
	u64 number = READ_ONCE(map->number);
	unsigned long entry;
	struct change_leaf *leaf;
	unsigned int i;
	u8 newest;

	if (first >> LEAF_SHIFT != last >> LEAF_SHIFT)
		return false;
	/* Pairs with the release in writable_leaf(). */
	entry = smp_load_acquire(&slots->entry[first >> LEAF_SHIFT]);
	if (is_number(entry))
		return entry_number(entry) == number;
	leaf = entry_leaf(entry);
	/* Pairs with the release in leaf_advance(). */
	if (!leaf || smp_load_acquire(&leaf->number) != number)
		return false;
	newest = READ_ONCE(leaf->newest);
	for (i = first & (LEAF_BLOCKS - 1); i <= (last & (LEAF_BLOCKS - 1)); i++)
		if (READ_ONCE(leaf->bytes[i]) != newest)
			return false;
	return true;
}

/*
 * Intervals
 */

void change_map_cut(struct change_map *map)
{
	WRITE_ONCE(map->view, map->number);
	WRITE_ONCE(map->number, map->number + 1);
}

u64 change_map_end_view(struct change_map *map, u64 block)
{
	struct change_slots *slots = locked_slots(map);
	unsigned long i = block >> LEAF_SHIFT;
	unsigned long end = min_t(unsigned long, slots->nr, i + SLOTS_AT_ONCE);

	map->view = 0;
	for (; i < end; i++) {
		unsigned long entry = slots->entry[i];

		if (entry && !is_number(entry)) {
			entry_free(map, entry_leaf(entry)->frozen);
			entry_leaf(entry)->frozen = 0;
		}
	}
	return (u64)end << LEAF_SHIFT;
}

void change_map_forget(struct change_map *map)
{
	map->forgotten = map->number;
	WRITE_ONCE(map->number, map->number + 1);
}

u64 change_map_trim(struct change_map *map, u64 block)
{
	struct change_slots *slots = locked_slots(map);
	unsigned long i = block >> LEAF_SHIFT;
	unsigned long end = min_t(unsigned long, slots->nr, i + SLOTS_AT_ONCE);

	for (; i < end; i++) {
		unsigned long entry = slots->entry[i];
		u64 number;

		if (!entry)
			continue;
		number = is_number(entry) ? entry_number(entry) :
					    entry_leaf(entry)->number;
		if (number <= map->forgotten) {
			WRITE_ONCE(slots->entry[i], 0);
			entry_free(map, entry);
		}
	}
	return (u64)end << LEAF_SHIFT;
}

/*
 * The past
 */

void change_map_set_past(struct change_map *map, u64 nr)
{
	map->forgotten = map->number - 1 - nr;
}

/*
 * Makes @slot's entry a leaf in which numbers of the past can be told apart, as far
 * as a byte reaches. Returns NULL if all its blocks are marked. Who looks without a
 * lock finds one leaf or the other, never bytes that change their meaning.
 */
static struct change_leaf *leaf_with_past(struct change_map *map, unsigned long *slot)
{
	u64 base = max(map->forgotten, map->number - U8_MAX);
	unsigned long entry = *slot;
	struct change_leaf *leaf;
	unsigned int i;

	if (is_number(entry) && entry_number(entry) == map->number)
		return NULL;
	if (entry && !is_number(entry) && entry_leaf(entry)->base <= base)
		return entry_leaf(entry);

	leaf = leaf_alloc(map);
	if (!leaf) {
		WRITE_ONCE(*slot, number_entry(map->number));
		entry_free(map, entry);
		return NULL;
	}
	leaf->number = map->number;
	leaf->base = base;
	leaf->newest = map->number - base;
	leaf->frozen = 0;
	for (i = 0; i < LEAF_BLOCKS; i++) {
		u64 number = is_number(entry) ? entry_number(entry) :
			     entry ? exact_number(entry_leaf(entry), i) : 0;

		leaf->bytes[i] = number ? byte_for(leaf, number) : 0;
	}
	/* Who finds the leaf finds it complete. */
	smp_store_release(slot, (unsigned long)leaf);
	entry_free(map, entry);
	return leaf;
}

static void load_in_leaf(struct change_map *map, unsigned long *slot,
			 unsigned int first, unsigned int last, u64 number)
{
	struct change_leaf *leaf;
	u8 byte;

	if (!first && last == LEAF_BLOCKS - 1 && (!*slot || is_number(*slot))) {
		if (entry_number(*slot) < number)
			WRITE_ONCE(*slot, number_entry(number));
		return;
	}
	leaf = leaf_with_past(map, slot);
	if (!leaf)
		return;
	byte = byte_for(leaf, number);
	for (; first <= last; first++)
		if (leaf->bytes[first] < byte)
			WRITE_ONCE(leaf->bytes[first], byte);
}

void change_map_load(struct change_map *map, u64 first, u64 last, u64 number)
{
	struct change_slots *slots = locked_slots(map);

	while (first <= last) {
		u64 end = min(last, first | (LEAF_BLOCKS - 1));

		load_in_leaf(map, &slots->entry[first >> LEAF_SHIFT],
			     first & (LEAF_BLOCKS - 1), end & (LEAF_BLOCKS - 1), number);
		first = end + 1;
	}
}

/*
 * Looking up
 */

/* What @slot says to those who look: what is frozen, if the view is older. */
static unsigned long visible_entry(const struct change_map *map, unsigned long entry)
{
	if (!entry || is_number(entry) || !map->view ||
	    entry_leaf(entry)->number <= map->view)
		return entry;
	return entry_leaf(entry)->frozen;
}

static u64 visible_number(const struct change_map *map, u64 number)
{
	if (number <= map->forgotten)
		return 0;
	/* All of a leaf was marked for want of memory. */
	if (map->view && number > map->view)
		return map->view;
	return number;
}

static u64 block_number(const struct change_map *map, const struct change_leaf *leaf,
			unsigned int i)
{
	return visible_number(map, exact_number(leaf, i));
}

void change_map_lookup(const struct change_map *map, u64 block,
		       struct change_run *run)
{
	struct change_slots *slots = locked_slots(map);
	unsigned long slot = block >> LEAF_SHIFT, end;
	unsigned int i = block & (LEAF_BLOCKS - 1);
	unsigned long entry = visible_entry(map, slots->entry[slot]);
	const struct change_leaf *leaf;

	if (!entry || is_number(entry)) {
		end = min_t(unsigned long, slots->nr, slot + SLOTS_AT_ONCE);
		for (slot++; slot < end; slot++)
			if (visible_entry(map, slots->entry[slot]) != entry)
				break;
		run->number = entry ? visible_number(map, entry_number(entry)) : 0;
		run->nr = ((u64)slot << LEAF_SHIFT) - block;
		return;
	}

	leaf = entry_leaf(entry);
	run->number = block_number(map, leaf, i);
	run->nr = 1;
	while (i + run->nr < LEAF_BLOCKS &&
	       leaf->bytes[i + run->nr] == leaf->bytes[i])
		run->nr++;
}

/* Whether all blocks that @entry stands for were marked after the cut. */
static bool all_newer(const struct change_map *map, unsigned long entry)
{
	return is_number(entry) && entry_number(entry) > map->view;
}

/* Whether @entry has anything to say about single blocks after the cut. */
static bool some_newer(const struct change_map *map, unsigned long entry)
{
	return entry && !is_number(entry) && entry_leaf(entry)->number > map->view;
}

void change_map_lookup_newer(const struct change_map *map, u64 block,
			     struct change_run *run)
{
	struct change_slots *slots = locked_slots(map);
	unsigned long slot = block >> LEAF_SHIFT, end;
	unsigned int i = block & (LEAF_BLOCKS - 1);
	unsigned long entry = slots->entry[slot];
	const struct change_leaf *leaf;
	bool newer;

	if (!some_newer(map, entry)) {
		newer = all_newer(map, entry);
		end = min_t(unsigned long, slots->nr, slot + SLOTS_AT_ONCE);
		for (slot++; slot < end; slot++)
			if (some_newer(map, slots->entry[slot]) ||
			    all_newer(map, slots->entry[slot]) != newer)
				break;
		run->number = newer ? map->number : 0;
		run->nr = ((u64)slot << LEAF_SHIFT) - block;
		return;
	}

	leaf = entry_leaf(entry);
	newer = leaf->base + leaf->bytes[i] > map->view;
	run->number = newer ? map->number : 0;
	run->nr = 1;
	while (i + run->nr < LEAF_BLOCKS &&
	       (leaf->base + leaf->bytes[i + run->nr] > map->view) == newer)
		run->nr++;
}

/*
 * Memory
 */

struct change_slots *change_slots_alloc(u64 nr_blocks, gfp_t gfp)
{
	u64 nr = (nr_blocks + LEAF_BLOCKS - 1) >> LEAF_SHIFT;
	struct change_slots *slots;

	slots = kvzalloc(struct_size(slots, entry, nr), gfp);
	if (slots)
		slots->nr = nr;
	return slots;
}

void change_slots_free(struct change_slots *slots)
{
	kvfree(slots);
}

void change_slots_free_rcu(struct change_slots *slots)
{
	kvfree_rcu(slots, rcu);
}

void change_map_init(struct change_map *map)
{
	RCU_INIT_POINTER(map->slots, NULL);
	map->number = FIRST_INTERVAL;
	map->view = 0;
	map->forgotten = FIRST_INTERVAL - 1;
	map->nr_leaves = 0;
}

struct change_slots *change_map_install(struct change_map *map,
					struct change_slots *slots)
{
	struct change_slots *old = locked_slots(map);

	if (old && old->nr >= slots->nr)
		return slots;
	if (old)
		memcpy(slots->entry, old->entry, old->nr * sizeof(old->entry[0]));
	rcu_assign_pointer(map->slots, slots);
	return old;
}

u64 change_map_capacity(const struct change_map *map)
{
	const struct change_slots *slots = locked_slots(map);

	return slots ? (u64)slots->nr << LEAF_SHIFT : 0;
}

void change_map_destroy(struct change_map *map)
{
	struct change_slots *slots = locked_slots(map);
	unsigned long i;

	if (!slots)
		return;
	for (i = 0; i < slots->nr; i++) {
		entry_free(map, slots->entry[i]);
		cond_resched();
	}
	kvfree(slots);
}

int change_map_module_init(void)
{
	leaf_cache = KMEM_CACHE(change_leaf, 0);
	return leaf_cache ? 0 : -ENOMEM;
}

void change_map_module_exit(void)
{
	/* Leaves that were freed. */
	rcu_barrier();
	kmem_cache_destroy(leaf_cache);
}
