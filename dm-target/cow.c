// SPDX-License-Identifier: GPL-2.0-only
/*
 * Copies in flight: claiming chunks, reading their old contents, publishing
 * them, and letting the writes go that waited.
 */
#include <linux/highmem.h>

#include "compat.h"
#include "cow.h"

/* Publishes copies and submits the writes that waited; never waits itself. */
static struct workqueue_struct *copy_wq;
/* Publishes those for which the map wants memory; may wait for it. */
static struct workqueue_struct *publish_wq;

/*
 * Claims: an rbtree of copies, by chunk, that never overlap
 */

/* The claim that contains @chunk, or else the first one behind it, or NULL. */
static struct copy *claim_search(struct member *member, chunk_t chunk)
{
	struct rb_node *node = member->claims.rb_node;
	struct copy *found = NULL;

	lockdep_assert_held(&member->lock);
	while (node) {
		struct copy *copy = rb_entry(node, struct copy, claim_node);

		if (from_chunk(chunk) < from_chunk(copy->chunk) + copy->nr) {
			found = copy;
			node = node->rb_left;
		} else {
			node = node->rb_right;
		}
	}
	return found;
}

static void claim_insert(struct member *member, struct copy *new)
{
	struct rb_node **link = &member->claims.rb_node, *parent = NULL;

	lockdep_assert_held(&member->lock);
	while (*link) {
		struct copy *copy = rb_entry(*link, struct copy, claim_node);

		parent = *link;
		if (from_chunk(new->chunk) < from_chunk(copy->chunk))
			link = &parent->rb_left;
		else
			link = &parent->rb_right;
	}
	rb_link_node(&new->claim_node, parent, link);
	rb_insert_color(&new->claim_node, &member->claims);
	member->nr_changes++;
}

/* Parks @io until the claim of @copy ends. */
static void wait_for_claim(struct copy *copy, struct diffsnap_io *io)
{
	lockdep_assert_held(&copy->member->lock);
	snapshot_get(copy->member->snapshot);
	bio_list_add(&copy->waiters, io_bio(io));
}

/* The claim that stands in the way of a change of the range, or NULL. */
static struct copy *claim_of_range(struct member *member, chunk_t chunk,
				   unsigned int nr)
{
	struct copy *copy = claim_search(member, chunk);

	if (copy && from_chunk(copy->chunk) < from_chunk(chunk) + nr)
		return copy;
	return NULL;
}

/*
 * Gives a copy the chunks from @chunk: a place and a claim. It holds a
 * reference of the snapshot from now on. Returns -ENOSPC if there is no place.
 */
static int claim(struct member *member, struct copy *copy, chunk_t chunk,
		 unsigned int nr, enum run_state kind)
{
	int r;

	lockdep_assert_held(&member->lock);
	r = store_copy_place(copy, nr);
	if (r)
		return r;
	copy->member = member;
	copy->chunk = chunk;
	copy->kind = kind;
	snapshot_get(member->snapshot);
	claim_insert(member, copy);
	return 0;
}

/* Ends a claim; the caller resumes @waiters when it has dropped the lock. */
static void unclaim(struct copy *copy, struct bio_list *waiters)
{
	lockdep_assert_held(&copy->member->lock);
	rb_erase(&copy->claim_node, &copy->member->claims);
	copy->member->nr_changes++;
	*waiters = copy->waiters;
	bio_list_init(&copy->waiters);
}

void cow_abandon(struct copy *copy)
{
	struct member *member = copy->member;
	struct bio_list waiters;

	spin_lock(&member->lock);
	unclaim(copy, &waiters);
	spin_unlock(&member->lock);
	store_copy_free(copy, true);
	io_go_on(&waiters);
	snapshot_put(member->snapshot);
}

/*
 * Publishing
 */

/* Memory for a node of the chunk map, of which it becomes part. */
static int fill_spare(struct snapshot *snapshot, struct map_spare *spare)
{
	if (!map_spare_fill(spare, GFP_TRY))
		return 0;
	map_spare_release(spare);
	spare->node = snapshot_take_node(snapshot);
	if (!spare->node)
		return -ENOMEM;
	spare->size = MAP_NODE_MAX;
	return 0;
}

/*
 * Puts the chunks of @copy into its state, and retires the places that they
 * had. Drops member->lock when memory is needed; nobody else may change these
 * chunks meanwhile, for they are claimed. Returns -EAGAIN if there is none for the
 * map, spare->needed bytes: an origin's copy is as it was then, and of an image's
 * write what it has no room for is forgotten.
 */
static int set_chunks(struct copy *copy, struct map_spare *spare)
{
	struct member *member = copy->member;
	unsigned int done = 0;
	int r;

	lockdep_assert_held(&member->lock);
	while (done < copy->nr) {
		chunk_t chunk = chunk_add(copy->chunk, done);
		/* What is preserved was unsettled when it was claimed. */
		struct chunk_run old = { .nr = copy->nr }, new;

		if (copy->kind != RUN_PRESERVED)
			chunk_map_lookup(&member->map, chunk, copy->nr - done, &old);
		new.state = copy->kind;
		new.nr = old.nr;
		new.place = place_add(copy->place, done);
		r = chunk_map_set(&member->map, chunk, &new, spare);
		if (r == -EAGAIN) {
			spin_unlock(&member->lock);
			r = fill_spare(member->snapshot, spare);
			spin_lock(&member->lock);
			if (!r)
				continue;
			if (copy->kind == RUN_WRITTEN)
				store_retire(&member->snapshot->store, new.place,
					     copy->nr - done);
			return -EAGAIN;
		}
		if (r)
			return r;
		if (old.state == RUN_PRESERVED || old.state == RUN_WRITTEN)
			store_retire(&member->snapshot->store, old.place, old.nr);
		done += new.nr;
	}
	return 0;
}

/*
 * Puts a copy that is in the buffer into the map and ends its claim; it is gone then.
 * Returns 0 or an error. -EAGAIN: an origin's copy is still claimed, and waits for
 * memory, spare->needed bytes. Others are not to be waited for: their writes fail.
 */
static int publish_committed(struct copy *copy, struct map_spare *spare)
{
	struct member *member = copy->member;
	struct snapshot *snapshot = member->snapshot;
	struct bio_list waiters;
	int r;

	spin_lock(&member->lock);
	r = snapshot_active(snapshot) ? set_chunks(copy, spare) : -EIO;
	if (r == -EAGAIN && copy->kind == RUN_PRESERVED) {
		spin_unlock(&member->lock);
		return r;
	}
	unclaim(copy, &waiters);
	spin_unlock(&member->lock);

	map_spare_release(spare);
	if (r == -EAGAIN)
		r = -ENOMEM;
	else if (r && r != -EIO)
		snapshot_degrade(snapshot, SNAPSHOT_INVALID, "no-memory", r,
				 member->origin->dev);
	copy_put(copy);
	io_go_on(&waiters);
	snapshot_put(snapshot);
	return r;
}

/*
 * What has got no memory for the map. The data is in the buffer, or in the store by
 * now; as long as the claim lasts, images read it from the origin.
 */
static void publish_work(struct work_struct *work)
{
	struct member *member = container_of(work, struct member, publish_work);
	struct llist_node *unpublished = llist_del_all(&member->unpublished);
	struct snapshot *snapshot = member->snapshot;
	struct store *store = &snapshot->store;
	struct copy *copy, *next;

	llist_for_each_entry_safe(copy, next, unpublished, done_node) {
		struct map_spare spare = { };
		unsigned long since = jiffies;

		while (publish_committed(copy, &spare) == -EAGAIN) {
			if (!map_spare_fill(&spare, GFP_RECLAIM) ||
			    store_await_memory(store, since))
				continue;
			snapshot_degrade(snapshot, SNAPSHOT_INVALID, "no-memory",
					 -ENOMEM, member->origin->dev);
		}
		/* The snapshot is freed only after this work, see free_work(). */
		WRITE_ONCE(store->last_copy, jiffies);
		atomic_dec(&store->nr_unpublished);
	}
}

int cow_publish(struct copy *copy)
{
	struct member *member = copy->member;
	struct snapshot *snapshot = member->snapshot;
	struct map_spare spare = { };
	int r;

	if (copy->bio.bi_status || !snapshot_active(snapshot)) {
		cow_abandon(copy);
		return -EIO;
	}

	/* The store may write and free it before its claim has ended. */
	refcount_inc(&copy->refs);
	/*
	 * The data first, then the map: who finds a place in the map looks it
	 * up under store->lock, which orders the two.
	 */
	store_commit(copy);

	r = publish_committed(copy, &spare);
	if (r == -EAGAIN) {
		/* As in cow_copy_done(). */
		rcu_read_lock();
		atomic_inc(&snapshot->store.nr_unpublished);
		llist_add(&copy->done_node, &member->unpublished);
		queue_work(publish_wq, &member->publish_work);
		rcu_read_unlock();
	}
	return r;
}

static void done_work(struct work_struct *work)
{
	struct member *member = container_of(work, struct member, done_work);
	struct llist_node *done = llist_del_all(&member->done);
	struct copy *copy, *next;
	struct blk_plug plug;

	/* In the order of completion, which is mostly that of the places. */
	done = llist_reverse_order(done);
	/* The writes that go on may be neighbours. */
	blk_start_plug(&plug);
	llist_for_each_entry_safe(copy, next, done, done_node)
		copy->finish(copy);
	blk_finish_plug(&plug);
}

void cow_copy_done(struct copy *copy)
{
	struct member *member = copy->member;

	/*
	 * The worker may take the copy, and its reference, at once; the member
	 * is freed only after a grace period.
	 */
	rcu_read_lock();
	llist_add(&copy->done_node, &member->done);
	queue_work(copy_wq, &member->done_work);
	rcu_read_unlock();
}

static void copy_end_io(struct bio *bio)
{
	struct copy *copy = container_of(bio, struct copy, bio);
	struct origin *origin = copy->member->origin;

	/* The origin lives at least as long as its member, see cow_copy_done(). */
	rcu_read_lock();
	cow_copy_done(copy);
	atomic_dec(&origin->nr_reading);
	rcu_read_unlock();
}

/* What lies behind the origin's end in its last, partial chunk reads as zeroes. */
static void zero_tail(struct copy *copy, unsigned int from)
{
	unsigned int page_bytes = copy->store->page_bytes;
	unsigned int bytes = copy->nr << (copy->store->chunk_shift + SECTOR_SHIFT);

	while (from < bytes) {
		unsigned int in_page = from % page_bytes;

		memzero_page(copy_page_at(copy, from), in_page,
			     page_bytes - in_page);
		from += page_bytes - in_page;
	}
}

void cow_read_old(struct copy *copy, const struct bio *cause)
{
	unsigned int shift = copy->store->chunk_shift;
	u64 start = from_chunk(copy->chunk) << shift;
	unsigned int sectors = min_t(u64, (u64)copy->nr << shift,
				     copy->member->nr_sectors - start);

	copy->bio.bi_iter.bi_sector = start;
	copy->bio.bi_iter.bi_size = sectors << SECTOR_SHIFT;
	copy->bio.bi_opf = REQ_OP_READ | REQ_SYNC;
	copy->bio.bi_end_io = copy_end_io;
	copy->bio.bi_ioprio = cause->bi_ioprio;
	zero_tail(copy, sectors << SECTOR_SHIFT);
	/* Counted down in copy_end_io(), waited for in origin_drain_reads(). */
	atomic_inc(&copy->member->origin->nr_reading);
	submit_bio_noacct(&copy->bio);
}

/*
 * The origin's first writes
 */

static void finish_preserved(struct copy *copy)
{
	int error = blk_status_to_errno(copy->bio.bi_status);
	struct member *member = copy->member;

	if (error)
		snapshot_degrade(member->snapshot, SNAPSHOT_INVALID, "origin-read",
				 error, member->origin->dev);
	cow_publish(copy);
}

/* What a write to [pos, end) needs next. */
struct need {
	chunk_t chunk;
	unsigned int nr;		/* chunks to be copied, or 0 */
	struct copy *claim;		/* the first claim met, or NULL */
};

static void find_need(struct member *member, u64 pos, u64 end, struct need *need)
{
	lockdep_assert_held(&member->lock);
	need->nr = 0;
	need->claim = NULL;
	while (pos < end) {
		unsigned int room = REGION_CHUNKS - chunk_in_region(to_chunk(pos));
		struct chunk_run run;
		struct copy *copy;

		chunk_map_lookup(&member->map, to_chunk(pos),
				 min_t(u64, end - pos, room), &run);
		if (run.state != RUN_UNSETTLED) {
			pos += run.nr;
			continue;
		}
		copy = claim_of_range(member, to_chunk(pos), run.nr);
		if (copy && from_chunk(copy->chunk) <= pos) {
			if (!need->claim)
				need->claim = copy;
			pos = from_chunk(copy->chunk) + copy->nr;
			continue;
		}
		need->chunk = to_chunk(pos);
		need->nr = copy ? from_chunk(copy->chunk) - pos : run.nr;
		return;
	}
}

/* The chunks that a bio touches; those behind the member's size are none. */
static void bio_chunks(const struct member *member, struct bio *bio,
		       u64 *first, u64 *end)
{
	unsigned int shift = member->snapshot->store.chunk_shift;

	*first = bio->bi_iter.bi_sector >> shift;
	*end = min(sectors_to_chunks(bio_end_sector(bio), shift), member->nr_chunks);
}

bool cow_settled(struct member *member, struct bio *bio)
{
	u64 pos, end;

	bio_chunks(member, bio, &pos, &end);
	while (pos < end) {
		unsigned int room = REGION_CHUNKS - chunk_in_region(to_chunk(pos));
		unsigned int nr = min_t(u64, end - pos, room);

		if (chunk_map_peek(&member->map, to_chunk(pos), nr) != SETTLED_ALL)
			return false;
		pos += nr;
	}
	return true;
}

/*
 * Makes a copy for what is needed. Returns NULL if @io was parked for want of
 * room or memory, ERR_PTR(-EAGAIN) if there may be room now or the snapshot was
 * given up, or ERR_PTR(-ENOMEM) if not even waiting helped.
 */
static struct copy *prepare_copy(struct member *member, struct diffsnap_io *io,
				 struct block_device *real, chunk_t chunk,
				 unsigned int nr, gfp_t gfp)
{
	struct snapshot *snapshot = member->snapshot;
	bool may_block = gfpflags_allow_blocking(gfp);
	unsigned long since = jiffies;
	struct copy *copy;

	for (;;) {
		bool has_slot = !chunk_map_reserve(&member->map, chunk, gfp);

		copy = ERR_PTR(-ENOMEM);
		if (has_slot)
			copy = store_copy_alloc(&snapshot->store, &member->feeder,
						real, nr, !may_block, gfp);
		if (copy != ERR_PTR(-ENOMEM))
			break;
		if (!may_block) {
			snapshot_retry(snapshot, io);
			return NULL;
		}
		if (!snapshot_active(snapshot))
			return ERR_PTR(-EAGAIN);
		/* What others have got comes back; the map's memory does not. */
		if (has_slot)
			since = store_last_copy(&snapshot->store, since);
		if (!store_await_memory(&snapshot->store, since))
			return copy;
	}

	if (copy == ERR_PTR(-EDQUOT))
		return store_await_reads(&snapshot->store, &member->feeder, io) ?
			NULL : ERR_PTR(-EAGAIN);
	if (copy == ERR_PTR(-EBUSY))
		return store_throttle(&snapshot->store, io, false) ?
			NULL : ERR_PTR(-EAGAIN);
	return copy;
}

/* The store has no place. Returns true if @io was parked to wait for one. */
static bool wait_for_space(struct member *member, struct diffsnap_io *io)
{
	struct snapshot *snapshot = member->snapshot;

	if (store_waits_when_full(&snapshot->store))
		return store_throttle(&snapshot->store, io, true);
	snapshot_degrade(snapshot, SNAPSHOT_OVERFLOW, "store-full", -ENOSPC,
			 member->origin->dev);
	return false;
}

enum cow_verdict cow_before_write(struct member *member, struct diffsnap_io *io,
				  struct block_device *real, gfp_t gfp)
{
	struct snapshot *snapshot = member->snapshot;
	struct bio *bio = io_bio(io);
	unsigned int shift = snapshot->store.chunk_shift;
	enum cow_verdict verdict = COW_PASS;
	struct copy *copy = NULL;
	unsigned int nr_changes = 0;
	bool found = false;		/* need is what is needed from pos on */
	unsigned long region = 0;	/* of the map, reserved with the copy */
	u64 first, pos, end;
	struct need need;

	bio_chunks(member, bio, &first, &end);
	pos = first;
	io->member = member;
	while (snapshot_active(snapshot)) {
		int r;

		spin_lock(&member->lock);
		/* What was found before the copy was made is mostly still true. */
		if (!found || member->nr_changes != nr_changes)
			find_need(member, pos, end, &need);
		found = false;
		if (!need.nr) {
			/* Nothing to begin; is there something to wait for? */
			if (pos > first) {
				spin_unlock(&member->lock);
				pos = first;
				continue;
			}
			if (need.claim && (bio->bi_opf & REQ_NOWAIT)) {
				verdict = COW_WOULD_WAIT;
			} else if (need.claim) {
				wait_for_claim(need.claim, io);
				verdict = COW_PARKED;
			}
			spin_unlock(&member->lock);
			break;
		}
		if (!copy) {
			nr_changes = member->nr_changes;
			spin_unlock(&member->lock);
			if (bio->bi_opf & REQ_NOWAIT) {
				verdict = COW_WOULD_WAIT;
				break;
			}
			found = true;
			region = chunk_region(need.chunk);
			copy = prepare_copy(member, io, real, need.chunk, need.nr, gfp);
			if (!copy) {
				verdict = COW_PARKED;
				break;
			}
			if (copy == ERR_PTR(-ENOMEM))
				snapshot_degrade(snapshot, SNAPSHOT_INVALID,
						 "no-memory", -ENOMEM,
						 member->origin->dev);
			if (IS_ERR(copy))
				copy = NULL;
			/* Looks again: others were here while we had no lock. */
			continue;
		}
		if (chunk_region(need.chunk) != region) {
			/* Somebody else has dealt with what it was made for. */
			spin_unlock(&member->lock);
			store_copy_free(copy, false);
			copy = NULL;
			continue;
		}
		r = claim(member, copy, need.chunk, need.nr, RUN_PRESERVED);
		spin_unlock(&member->lock);
		if (r) {
			store_copy_free(copy, false);
			copy = NULL;
			if (wait_for_space(member, io)) {
				verdict = COW_PARKED;
				break;
			}
			continue;
		}
		pos = from_chunk(copy->chunk) + copy->nr;
		copy->finish = finish_preserved;
		atomic64_inc(&member->origin->nr_copies);
		atomic64_add((u64)copy->nr << shift, &member->origin->nr_preserved);
		cow_read_old(copy, bio);
		copy = NULL;
	}
	if (copy)
		store_copy_free(copy, false);
	if (verdict != COW_PASS)
		return verdict;
	/*
	 * The chunks were seen settled, or the snapshot given up, before the
	 * write is submitted. Pairs with the barrier in image_end_io().
	 */
	smp_mb();
	return COW_PASS;
}

/*
 * What images do
 */

struct copy *cow_claim_written(struct member *member, struct diffsnap_io *io,
			       struct block_device *real, chunk_t chunk,
			       unsigned int nr, gfp_t gfp)
{
	struct snapshot *snapshot = member->snapshot;
	struct copy *copy, *other;
	int r;

	do {
		if (!snapshot_active(snapshot))
			return ERR_PTR(-EIO);
		copy = prepare_copy(member, io, real, chunk, nr, gfp);
	} while (copy == ERR_PTR(-EAGAIN));
	if (IS_ERR_OR_NULL(copy))
		return copy;

	spin_lock(&member->lock);
	other = claim_of_range(member, chunk, copy->nr);
	if (other) {
		wait_for_claim(other, io);
		spin_unlock(&member->lock);
		store_copy_free(copy, false);
		return NULL;
	}
	r = claim(member, copy, chunk, copy->nr, RUN_WRITTEN);
	spin_unlock(&member->lock);
	if (r) {
		store_copy_free(copy, false);
		return ERR_PTR(r);
	}
	return copy;
}

int cow_release(struct member *member, struct diffsnap_io *io, chunk_t chunk,
		unsigned int nr, gfp_t gfp)
{
	struct snapshot *snapshot = member->snapshot;
	struct map_spare spare = { };
	struct chunk_run old, new = { .state = RUN_RELEASED };
	unsigned long since = jiffies;
	struct copy *other;
	int r;

again:
	if (!snapshot_active(snapshot))
		return -EIO;
	r = chunk_map_reserve(&member->map, chunk, gfp);
	if (r)
		goto no_memory;

	spin_lock(&member->lock);
	while (nr) {
		if (!snapshot_active(snapshot)) {
			r = -EIO;
			break;
		}
		other = claim_of_range(member, chunk, nr);
		if (other) {
			wait_for_claim(other, io);
			r = -EBUSY;
			break;
		}
		chunk_map_lookup(&member->map, chunk, nr, &old);
		new.nr = old.nr;
		if (old.state != RUN_RELEASED) {
			r = chunk_map_set(&member->map, chunk, &new, &spare);
			if (r == -EAGAIN) {
				spin_unlock(&member->lock);
				/* The reserve is for what cannot wait. */
				r = map_spare_fill(&spare, gfp);
				spin_lock(&member->lock);
				if (!r)
					continue;
			}
			if (r)
				break;
			member->nr_changes++;
			if (old.state != RUN_UNSETTLED)
				store_retire(&snapshot->store, old.place, old.nr);
		}
		chunk = chunk_add(chunk, old.nr);
		nr -= old.nr;
	}
	spin_unlock(&member->lock);
	map_spare_release(&spare);
	if (r != -ENOMEM)
		return r;
no_memory:
	if (!gfpflags_allow_blocking(gfp)) {
		snapshot_retry(snapshot, io);
		return -EBUSY;
	}
	if (store_await_memory(&snapshot->store, since))
		goto again;
	return r;
}

void cow_init_member(struct member *member)
{
	member->claims = RB_ROOT;
	init_llist_head(&member->done);
	INIT_WORK(&member->done_work, done_work);
	init_llist_head(&member->unpublished);
	INIT_WORK(&member->publish_work, publish_work);
}

int cow_module_init(void)
{
	copy_wq = alloc_workqueue("diffsnap-copy", WQ_MEM_RECLAIM | WQ_PERCPU, 0);
	if (!copy_wq)
		return -ENOMEM;
	publish_wq = alloc_workqueue("diffsnap-publish", WQ_MEM_RECLAIM | WQ_PERCPU, 0);
	if (!publish_wq) {
		destroy_workqueue(copy_wq);
		return -ENOMEM;
	}
	return 0;
}

void cow_module_flush(void)
{
	flush_workqueue(copy_wq);
	flush_workqueue(publish_wq);
}

void cow_module_exit(void)
{
	destroy_workqueue(publish_wq);
	destroy_workqueue(copy_wq);
}
