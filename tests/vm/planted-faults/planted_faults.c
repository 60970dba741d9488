// SPDX-License-Identifier: GPL-2.0-only
/*
 * Faults on purpose, at least one for each checker of the checked kernels. A checker
 * that is switched off, or does not look at modules that are built as ours is, finds
 * nothing in ours either.
 *
 * The name of a fault, written to /sys/module/planted_faults/parameters/plant, makes it
 * happen before the write returns.
 */
#include <linux/debugobjects.h>
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/preempt.h>
#include <linux/slab.h>
#include <linux/timer.h>

/* What is computed goes here, or the compiler would leave it out. */
static u64 sink;

static int use_after_free(void)
{
	u32 *value = kzalloc(sizeof(*value), GFP_KERNEL);
	u32 *freed = value;

	if (!value)
		return -ENOMEM;
	OPTIMIZER_HIDE_VAR(freed);
	kfree(value);
	WRITE_ONCE(sink, READ_ONCE(*freed));
	return 0;
}

static int shift_too_far(void)
{
	unsigned int bits = 64;

	OPTIMIZER_HIDE_VAR(bits);
	WRITE_ONCE(sink, 1ULL << bits);
	return 0;
}

/* Some of them: an old pointer that is still on a stack hides one or the other. */
static int leak(void)
{
	int i;

	for (i = 0; i < 16; i++) {
		void *lost = kmalloc(96, GFP_KERNEL);

		if (!lost)
			return -ENOMEM;
		OPTIMIZER_HIDE_VAR(lost);
	}
	return 0;
}

struct armed {
	struct timer_list timer;
};

static void never(struct timer_list *timer)
{
}

/* Debug objects stops the timer before the memory goes. */
static int free_armed_timer(void)
{
	struct armed *armed = kzalloc(sizeof(*armed), GFP_KERNEL);

	if (!armed)
		return -ENOMEM;
	timer_setup(&armed->timer, never, 0);
	mod_timer(&armed->timer, jiffies + 3600 * HZ);
	kfree(armed);
	return 0;
}

static int sleep_in_atomic(void)
{
	preempt_disable();
	might_sleep();
	preempt_enable();
	return 0;
}

static DEFINE_MUTEX(outer);
static DEFINE_MUTEX(inner);

static int lock_order(void)
{
	mutex_lock(&outer);
	mutex_lock(&inner);
	mutex_unlock(&inner);
	mutex_unlock(&outer);

	mutex_lock(&inner);
	mutex_lock(&outer);
	mutex_unlock(&outer);
	mutex_unlock(&inner);
	return 0;
}

/* Two threads, each on a CPU of its own, for a second. */
static int race(int (*first)(void *), int (*second)(void *))
{
	struct task_struct *a, *b;

	a = kthread_create(first, NULL, "planted/0");
	if (IS_ERR(a))
		return PTR_ERR(a);
	b = kthread_create(second, NULL, "planted/1");
	if (IS_ERR(b)) {
		kthread_stop(a);
		return PTR_ERR(b);
	}
	kthread_bind(a, 0);
	kthread_bind(b, 1);
	wake_up_process(a);
	wake_up_process(b);
	msleep(1000);
	kthread_stop(a);
	kthread_stop(b);
	return 0;
}

static u64 counter;

static int count(void *unused)
{
	while (!kthread_should_stop()) {
		counter++;
		cond_resched();
	}
	return 0;
}

static int plain_race(void) { return race(count, count); }

static u64 letter;
static int letter_is_there;

/* What is missing: smp_store_release(). On x86 nothing comes of it; KCSAN knows. */
static int post(void *unused)
{
	while (!kthread_should_stop()) {
		/* pairs with the release in fetch() */
		if (smp_load_acquire(&letter_is_there)) {
			cond_resched();
			continue;
		}
		letter++;
		WRITE_ONCE(letter_is_there, 1);
	}
	return 0;
}

static int fetch(void *unused)
{
	while (!kthread_should_stop()) {
		/* the release that post() has not is what it should pair with */
		if (!smp_load_acquire(&letter_is_there)) {
			cond_resched();
			continue;
		}
		WRITE_ONCE(sink, letter);
		/* pairs with the acquire in post() */
		smp_store_release(&letter_is_there, 0);
	}
	return 0;
}

static int missing_release(void) { return race(post, fetch); }

static const struct {
	const char *name;
	int (*plant)(void);
} faults[] = {
	{ "use-after-free", use_after_free },
	{ "shift-too-far", shift_too_far },
	{ "leak", leak },
	{ "free-armed-timer", free_armed_timer },
	{ "sleep-in-atomic", sleep_in_atomic },
	{ "lock-order", lock_order },
	{ "plain-race", plain_race },
	{ "missing-release", missing_release },
};

static int plant(const char *value, const struct kernel_param *param)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(faults); i++)
		if (sysfs_streq(value, faults[i].name))
			return faults[i].plant();
	return -EINVAL;
}

static const struct kernel_param_ops plant_ops = { .set = plant };

module_param_cb(plant, &plant_ops, NULL, 0200);
MODULE_PARM_DESC(plant, "name of a fault to make");

static int __init planted_faults_init(void) { return 0; }
static void __exit planted_faults_exit(void) { }

module_init(planted_faults_init);
module_exit(planted_faults_exit);
MODULE_DESCRIPTION("Faults for the kernel's checkers to find");
MODULE_LICENSE("GPL");
