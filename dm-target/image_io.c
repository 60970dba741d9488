// SPDX-License-Identifier: GPL-2.0-only
/*
 * Image requests.
 *
 * A read goes to the real device and is checked afterwards, or to the store.
 * A write becomes a copy of its own, in new places of the store; where it
 * covers a chunk only in part, the rest of the chunk is read first. A discard
 * and write zeroes release whole chunks.
 */
#include <linux/highmem.h>

#include "compat.h"
#include "cow.h"
#include "image_io.h"

/* What the completion of an image's bio has to do. */
enum image_io_kind {
	IMAGE_DONE,		/* nothing: its data is right */
	IMAGE_READ_REAL,	/* check what was settled meanwhile */
	IMAGE_READ_STORE,	/* end the epoch */
	IMAGE_PATCHED,		/* parts of it came from elsewhere */
};

/* Part of an image's read that comes from the store. */
struct store_read {
	struct bio *parent;
	struct store *store;
	u8 epoch;
	struct bio bio;		/* must be last */
};

static struct bio_set store_reads;

static struct image *io_image(struct diffsnap_io *io)
{
	return io->ti->private;
}

static unsigned int chunk_bytes(const struct member *member)
{
	return 1U << (member->snapshot->store.chunk_shift + SECTOR_SHIFT);
}

static void io_end(struct diffsnap_io *io, int error)
{
	struct bio *bio = io_bio(io);

	/* Parts of it may be failing just now; either error will do. */
	WRITE_ONCE(bio->bi_status, errno_to_blk_status(error));
	bio_endio(bio);
}

/*
 * Copies @len bytes between a bio, from its byte @skip, and a copy's pages,
 * from byte @offset; without a copy, zeroes the bio.
 */
enum direction { TO_BIO, FROM_BIO };

static void copy_data(struct diffsnap_io *io, unsigned int skip, struct copy *copy,
		      unsigned int offset, unsigned int len, enum direction direction)
{
	struct bio *bio = io_bio(io);
	struct bvec_iter iter = io->iter;

	bio_advance_iter(bio, &iter, skip);
	while (len) {
		struct bio_vec bv = bio_iter_iovec(bio, iter);
		unsigned int n = min(len, bv.bv_len);

		if (copy) {
			unsigned int page_bytes = copy->store->page_bytes;
			struct page *page = copy_page_at(copy, offset);

			n = min(n, page_bytes - offset % page_bytes);
			if (direction == TO_BIO)
				memcpy_page(bv.bv_page, bv.bv_offset, page,
					    offset % page_bytes, n);
			else
				memcpy_page(page, offset % page_bytes, bv.bv_page,
					    bv.bv_offset, n);
			offset += n;
		} else {
			memzero_page(bv.bv_page, bv.bv_offset, n);
		}
		bio_advance_iter_single(bio, &iter, n);
		len -= n;
	}
}

/* Zeroes @len bytes of a copy's pages from @offset. */
static void zero_copy(struct copy *copy, unsigned int offset, unsigned int len)
{
	unsigned int page_bytes = copy->store->page_bytes;

	while (len) {
		unsigned int n = min(len, page_bytes - offset % page_bytes);

		memzero_page(copy_page_at(copy, offset), offset % page_bytes, n);
		offset += n;
		len -= n;
	}
}

/*
 * Reads
 */

static void store_read_end_io(struct bio *bio)
{
	struct store_read *read = container_of(bio, struct store_read, bio);
	struct bio *parent = read->parent;

	if (bio->bi_status)
		WRITE_ONCE(parent->bi_status, bio->bi_status);
	store_read_end(read->store, read->epoch);
	bio_put(bio);
	bio_endio(parent);
}

/*
 * Reads @len bytes of the request, from @skip, from @sector of the store. The
 * request is counted up by hand: bio_inc_remaining() writes BIO_CHAIN as well,
 * which an earlier part may look at just then.
 */
static void read_part(struct diffsnap_io *io, unsigned int skip, unsigned int len,
		      const struct store_source *source, sector_t sector)
{
	struct bio *parent = io_bio(io);
	struct store_read *read;
	struct bio *bio;

	bio = bio_alloc_clone(source->bdev, parent, GFP_NOIO, &store_reads);
	bio->bi_iter = io->iter;
	bio_advance_iter(bio, &bio->bi_iter, skip);
	bio->bi_iter.bi_size = len;
	bio->bi_iter.bi_sector = sector;
	bio->bi_end_io = store_read_end_io;

	read = container_of(bio, struct store_read, bio);
	read->parent = parent;
	read->store = &io->member->snapshot->store;
	read->epoch = source->epoch;
	atomic_inc(&parent->__bi_remaining);
	submit_bio_noacct(bio);
}

/*
 * Fills in the settled parts of a read from the store; the unsettled ones have
 * been read and checked. Sleeps. io->done is where to go on after the store
 * was stopped meanwhile; parts that are being read then are counted in the
 * bio.
 */
static void patch_read(struct diffsnap_io *io)
{
	struct member *member = io->member;
	struct store *store = &member->snapshot->store;
	unsigned int bytes = chunk_bytes(member);
	struct bio *bio = io_bio(io);
	int error = 0;

	if (io->kind != IMAGE_PATCHED) {
		/* As it was before it was submitted to the real device. */
		io->kind = IMAGE_PATCHED;
		io->done = 0;
		bio->bi_status = BLK_STS_OK;
		bio->bi_flags = io->flags;
		atomic_set(&bio->__bi_remaining, 1);
		bio_set_flag(bio, BIO_CHAIN);
	}

	while (io->done < io->iter.bi_size) {
		u64 start = ((u64)io->iter.bi_sector << SECTOR_SHIFT) + io->done;
		unsigned int in_chunk = start & (bytes - 1);
		chunk_t chunk = to_chunk(start / bytes);
		unsigned int left = io->iter.bi_size - io->done;
		unsigned int nr = min(DIV_ROUND_UP(in_chunk + left, bytes),
				      REGION_CHUNKS - chunk_in_region(chunk));
		struct store_source source = { };
		struct chunk_run run;
		unsigned int len;

		spin_lock(&member->lock);
		chunk_map_lookup(&member->map, chunk, nr, &run);
		if (run.state == RUN_PRESERVED || run.state == RUN_WRITTEN) {
			error = store_find(store, run.place, run.nr, &source, io);
			if (!error)
				run.nr = source.nr;
		}
		spin_unlock(&member->lock);
		if (error == -EBUSY)
			return;
		if (error)
			break;

		len = min(left, run.nr * bytes - in_chunk);
		if (run.state == RUN_RELEASED) {
			copy_data(io, io->done, NULL, 0, len, TO_BIO);
		} else if (source.copy) {
			copy_data(io, io->done, source.copy,
				  source.offset + in_chunk, len, TO_BIO);
			copy_put(source.copy);
		} else if (source.bdev) {
			read_part(io, io->done, len, &source,
				  place_to_sector(store, run.place) +
				  (in_chunk >> SECTOR_SHIFT));
		}
		io->done += len;
	}
	if (error)
		io_end(io, error);
	else
		bio_endio(bio);
}

/*
 * A read of the real device has completed, and its completion could not tell
 * that all of it is the old contents.
 */
static void check_read(struct diffsnap_io *io, gfp_t gfp)
{
	struct snapshot *snapshot = io->member->snapshot;
	struct origin *origin = io->member->origin;

	if (!snapshot_active(snapshot)) {
		io_end(io, -EIO);
		return;
	}
	if (io->kind == IMAGE_READ_REAL && !origin_is_running(origin)) {
		snapshot_get(snapshot);
		if (origin_stall(origin, io_bio(io))) {
			/* It may have been given up before we were listed. */
			if (!snapshot_active(snapshot))
				origin_unstall(origin);
			return;
		}
		snapshot_put(snapshot);
	}
	/* After the look at the origin, see origin_is_running(). */
	if (!snapshot_active(snapshot)) {
		io_end(io, -EIO);
		return;
	}
	patch_read(io);
}

/* A read all of whose chunks are settled, so that no device has the whole. */
static int read_settled(struct diffsnap_io *io, chunk_t chunk, unsigned int nr)
{
	struct member *member = io->member;
	struct store *store = &member->snapshot->store;
	struct bio *bio = io_bio(io);
	unsigned int in_chunk = ((u64)bio->bi_iter.bi_sector << SECTOR_SHIFT) &
				(chunk_bytes(member) - 1);
	struct store_source source = { };
	struct chunk_run run;
	int r = 0;

	spin_lock(&member->lock);
	chunk_map_lookup(&member->map, chunk, nr, &run);
	if (run.nr == nr &&
	    (run.state == RUN_PRESERVED || run.state == RUN_WRITTEN)) {
		r = store_find(store, run.place, nr, &source, io);
		if (!r)
			run.nr = source.nr;
	}
	spin_unlock(&member->lock);
	if (r == -EBUSY)
		return DM_MAPIO_SUBMITTED;
	if (r)
		return DM_MAPIO_KILL;

	if (run.nr < nr) {
		/* In pieces. */
		if (source.copy)
			copy_put(source.copy);
		else if (source.bdev)
			store_read_end(store, source.epoch);
		snapshot_retry(member->snapshot, io);
		return DM_MAPIO_SUBMITTED;
	}
	if (source.bdev) {
		io->kind = IMAGE_READ_STORE;
		io->epoch = source.epoch;
		bio_set_dev(bio, source.bdev);
		bio->bi_iter.bi_sector = place_to_sector(store, run.place) +
					 (in_chunk >> SECTOR_SHIFT);
		return DM_MAPIO_REMAPPED;
	}
	copy_data(io, 0, source.copy, source.offset + in_chunk,
		  io->iter.bi_size, TO_BIO);
	if (source.copy)
		copy_put(source.copy);
	bio_endio(bio);
	return DM_MAPIO_SUBMITTED;
}

static int map_read(struct diffsnap_io *io)
{
	struct member *member = io->member;
	unsigned int shift = member->snapshot->store.chunk_shift;
	struct bio *bio = io_bio(io);
	sector_t sector = bio->bi_iter.bi_sector;
	chunk_t chunk = to_chunk(sector >> shift);
	sector_t region_end = ((u64)chunk_region(chunk) + 1) << (shift + REGION_SHIFT);
	unsigned int nr;

	if (bio_end_sector(bio) > region_end) {
		dm_accept_partial_bio(bio, region_end - sector);
		io->iter = bio->bi_iter;
	}
	io->resume = check_read;
	io->flags = bio->bi_flags;
	nr = sectors_to_chunks(bio_end_sector(bio), shift) - from_chunk(chunk);
	if (chunk_map_peek(&member->map, chunk, nr) == SETTLED_ALL)
		return read_settled(io, chunk, nr);

	/* Whatever is settled of it is filled in when this part is there. */
	io->kind = IMAGE_READ_REAL;
	bio_set_dev(bio, io_image(io)->real->bdev);
	return DM_MAPIO_REMAPPED;
}

int image_end_io(struct dm_target *ti, struct bio *bio, blk_status_t *error)
{
	struct diffsnap_io *io = bio_io(bio);
	struct member *member = io->member;
	unsigned int shift = member->snapshot->store.chunk_shift;
	chunk_t chunk;
	unsigned int nr;

	if (io->kind == IMAGE_READ_STORE)
		store_read_end(&member->snapshot->store, io->epoch);
	if (io->kind == IMAGE_DONE || *error)
		return DM_ENDIO_DONE;
	if (io->kind != IMAGE_READ_REAL) {
		if (!snapshot_active(member->snapshot))
			*error = BLK_STS_IOERR;
		return DM_ENDIO_DONE;
	}

	/*
	 * The data is there; now, not earlier, is asked whether it was still
	 * the old contents. Pairs with the barrier in cow_before_write(): if
	 * the device gave us what a newer write brought, we see what that
	 * write saw: its chunks settled, or the snapshot given up.
	 */
	smp_mb();
	chunk = to_chunk(io->iter.bi_sector >> shift);
	nr = sectors_to_chunks(io->iter.bi_sector + (io->iter.bi_size >> SECTOR_SHIFT),
			       shift) - from_chunk(chunk);
	if (chunk_map_peek(&member->map, chunk, nr) == SETTLED_NONE &&
	    origin_is_running(member->origin) &&
	    snapshot_active(member->snapshot))
		return DM_ENDIO_DONE;

	snapshot_retry(member->snapshot, io);
	return DM_ENDIO_INCOMPLETE;
}

/*
 * Writes
 */

/* The part of a write that is dealt with in one step. */
struct piece {
	chunk_t chunk;
	unsigned int nr;	/* chunks */
	unsigned int in_chunk;	/* bytes into the first */
	unsigned int len;	/* bytes */
	bool whole;		/* covers its chunks, as far as they exist */
};

static void next_piece(struct diffsnap_io *io, struct piece *piece)
{
	struct member *member = io->member;
	unsigned int bytes = chunk_bytes(member);
	u64 size = member->nr_sectors << SECTOR_SHIFT;
	u64 start = ((u64)io->iter.bi_sector << SECTOR_SHIFT) + io->done;
	u64 end = ((u64)io->iter.bi_sector << SECTOR_SHIFT) + io->iter.bi_size;
	u64 chunk_start;

	piece->chunk = to_chunk(start / bytes);
	piece->in_chunk = start & (bytes - 1);
	chunk_start = start - piece->in_chunk;
	piece->whole = !piece->in_chunk && end >= min(chunk_start + bytes, size);
	if (!piece->whole) {
		piece->nr = 1;
		piece->len = min_t(u64, end - start, bytes - piece->in_chunk);
		return;
	}
	/* The last chunk of the device may be whole, and yet shorter. */
	piece->nr = end == size ? DIV_ROUND_UP_ULL(end - start, bytes) :
				  (end - start) / bytes;
	piece->nr = min(piece->nr, REGION_CHUNKS - chunk_in_region(piece->chunk));
	piece->len = min_t(u64, end - start, (u64)piece->nr * bytes);
}

/* Brings a write's data into its copy, which holds the old contents. */
static void merge_write(struct diffsnap_io *io, struct copy *copy,
			const struct piece *piece)
{
	if (bio_op(io_bio(io)) == REQ_OP_WRITE)
		copy_data(io, io->done, copy, piece->in_chunk, piece->len, FROM_BIO);
	else
		zero_copy(copy, piece->in_chunk, piece->len);
}

/*
 * The old contents of a chunk that is written in part have been read. Those
 * from the real device count only while the origin's table is certainly ours;
 * without that certainty the write is begun anew when there is.
 */
static void finish_partial(struct copy *copy)
{
	struct diffsnap_io *io = copy->writer;
	struct member *member = io->member;
	struct snapshot *snapshot = member->snapshot;
	int r = blk_status_to_errno(copy->bio.bi_status);
	struct piece piece;

	if (copy->reads_store)
		store_read_end(&snapshot->store, copy->epoch);
	if (r) {
		cow_abandon(copy);
		io_end(io, r);
		return;
	}

	/* After the data: see image_end_io(). */
	smp_mb();
	if (!copy->reads_store && !origin_is_running(member->origin)) {
		snapshot_get(snapshot);
		cow_abandon(copy);
		if (!origin_stall(member->origin, io_bio(io))) {
			snapshot_retry(snapshot, io);
			snapshot_put(snapshot);
		} else if (!snapshot_active(snapshot)) {
			origin_unstall(member->origin);
		}
		return;
	}

	next_piece(io, &piece);
	merge_write(io, copy, &piece);
	r = cow_publish(copy);
	if (r) {
		io_end(io, r);
		return;
	}
	io->done += piece.len;
	/* The next piece may have to read the store: not here. */
	if (io->done < io->iter.bi_size)
		snapshot_retry(snapshot, io);
	else
		io_end(io, 0);
}

static void partial_read_end_io(struct bio *bio)
{
	cow_copy_done(container_of(bio, struct copy, bio));
}

/*
 * Gets the old contents of a chunk that is written in part. Returns 0 if they
 * are in the copy now; -EINPROGRESS if finish_partial() will be called; -EBUSY
 * if the request was parked, and another error: the copy is gone then.
 */
static int read_old_chunk(struct diffsnap_io *io, struct copy *copy)
{
	struct member *member = io->member;
	struct store *store = &member->snapshot->store;
	unsigned int bytes = chunk_bytes(member);
	struct store_source source = { };
	struct chunk_run run;
	unsigned int offset;
	int r = 0;

	copy->writer = io;
	copy->finish = finish_partial;

	spin_lock(&member->lock);
	chunk_map_lookup(&member->map, copy->chunk, 1, &run);
	if (run.state == RUN_PRESERVED || run.state == RUN_WRITTEN)
		r = store_find(store, run.place, 1, &source, io);
	spin_unlock(&member->lock);
	if (r) {
		cow_abandon(copy);
		return r;
	}

	if (run.state == RUN_UNSETTLED) {
		cow_read_old(copy, io_bio(io));
		return -EINPROGRESS;
	}
	if (source.copy) {
		for (offset = 0; offset < bytes; offset += store->page_bytes)
			memcpy_page(copy_page_at(copy, offset), 0,
				    copy_page_at(source.copy, source.offset + offset),
				    0, store->page_bytes);
		copy_put(source.copy);
		return 0;
	}
	if (source.bdev) {
		copy->reads_store = true;
		copy->epoch = source.epoch;
		bio_set_dev(&copy->bio, source.bdev);
		copy->bio.bi_iter.bi_sector = place_to_sector(store, run.place);
		copy->bio.bi_iter.bi_size = bytes;
		copy->bio.bi_end_io = partial_read_end_io;
		submit_bio_noacct(&copy->bio);
		return -EINPROGRESS;
	}
	zero_copy(copy, 0, bytes);
	return 0;
}

/*
 * Writes one piece. Returns 0 if it is published, -EBUSY if the request waits,
 * or another error.
 */
static int write_piece(struct diffsnap_io *io, struct piece *piece, gfp_t gfp)
{
	struct member *member = io->member;
	unsigned int bytes = chunk_bytes(member);
	struct copy *copy;
	int r;

	copy = cow_claim_written(member, io, io_image(io)->real->bdev,
				 piece->chunk, piece->nr, gfp);
	if (!copy)
		return -EBUSY;
	if (IS_ERR(copy))
		return PTR_ERR(copy);
	piece->len = min(piece->len, copy->nr * bytes);
	if (piece->whole) {
		/* Behind the end of the device, in its last chunk. */
		zero_copy(copy, piece->len, copy->nr * bytes - piece->len);
	} else {
		r = read_old_chunk(io, copy);
		if (r)
			return r == -EINPROGRESS ? -EBUSY : r;
	}
	merge_write(io, copy, piece);
	return cow_publish(copy);
}

/*
 * Goes on with a write, discard or write zeroes, piece by piece, until it waits
 * for something or ends.
 */
static void go_on_writing(struct diffsnap_io *io, gfp_t gfp)
{
	struct member *member = io->member;
	bool discard = bio_op(io_bio(io)) == REQ_OP_DISCARD;
	bool releases = discard || bio_op(io_bio(io)) == REQ_OP_WRITE_ZEROES;

	while (io->done < io->iter.bi_size) {
		struct piece piece;
		int r;

		next_piece(io, &piece);
		if (piece.whole && releases)
			r = cow_release(member, io, piece.chunk, piece.nr, gfp);
		else if (discard)
			r = 0;
		else
			r = write_piece(io, &piece, gfp);
		if (r == -EBUSY)
			return;
		if (r) {
			io_end(io, r);
			return;
		}
		io->done += piece.len;
	}
	io_end(io, 0);
}

int image_map_bio(struct dm_target *ti, struct bio *bio)
{
	struct image *image = ti->private;
	struct diffsnap_io *io = bio_io(bio);

	/* What completes a read may be a worker. */
	bio_clear_polled(bio);
	io->ti = ti;
	io->image = true;
	io->member = image->member;
	io->kind = IMAGE_DONE;
	io->iter = bio->bi_iter;
	io->done = 0;

	if (!snapshot_active(image->snapshot))
		return DM_MAPIO_KILL;
	if (!bio_sectors(bio)) {
		/* A flush. What does not outlive a crash need not be durable. */
		bio_endio(bio);
		return DM_MAPIO_SUBMITTED;
	}
	if (bio_op(bio) == REQ_OP_READ)
		return map_read(io);
	if (!op_is_write(bio_op(bio)))
		return DM_MAPIO_KILL;
	/* A discard says that nobody needs what is there: that is no change. */
	if (bio_op(bio) != REQ_OP_DISCARD)
		tracker_mark_image(&image->member->origin->tracker,
				   bio->bi_iter.bi_sector, bio_end_sector(bio));
	io->resume = go_on_writing;
	go_on_writing(io, GFP_TRY);
	return DM_MAPIO_SUBMITTED;
}

int image_io_module_init(void)
{
	return bioset_init(&store_reads, BIO_POOL_SIZE,
			   offsetof(struct store_read, bio), 0);
}

void image_io_module_exit(void)
{
	bioset_exit(&store_reads);
}
