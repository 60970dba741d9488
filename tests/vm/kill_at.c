// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * To be preloaded: kills the process with SIGKILL at the n-th of its ioctls that change devices or freeze or
 * thaw file systems. Children are left alone, the watchdog above all.
 *
 *   KILL_AT=N          the call is not made any more
 *   KILL_AT=after:N    it is made, and nothing after it
 *   KILL_AT=stop:N     it is made, and the process stops until it gets SIGCONT
 *   KILL_AT_LOG=FILE   gets a line for each such call: its number and name
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int (*real_ioctl)(int fd, unsigned long request, ...);
static pid_t victim;
static long target;
static enum { BEFORE, AFTER, STOP } when;
static long calls;
static int log_fd = -1;

static __attribute__((constructor)) void begin(void)
{
	const char *at = getenv("KILL_AT");
	const char *log = getenv("KILL_AT_LOG");

	*(void **)&real_ioctl = dlsym(RTLD_NEXT, "ioctl");
	victim = getpid();
	if (at) {
		const char *colon = strchr(at, ':');

		when = !colon ? BEFORE : *at == 'a' ? AFTER : STOP;
		target = strtol(colon ? colon + 1 : at, NULL, 10);
	}
	if (log)
		log_fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	/* once for all: programs that the victim starts run undisturbed */
	unsetenv("LD_PRELOAD");
}

static const char *changing(unsigned long request, const void *argument)
{
	const struct dm_ioctl *dm = argument;

	/* unsigned int: libdevmapper's requests come sign-extended or not */
	switch ((unsigned int)request) {
	case (unsigned int)DM_DEV_CREATE:
		return "create";
	case (unsigned int)DM_DEV_REMOVE:
		return "remove";
	case (unsigned int)DM_DEV_SUSPEND:
		return dm->flags & DM_SUSPEND_FLAG ? "suspend" : "resume";
	case (unsigned int)DM_TABLE_LOAD:
		return "load";
	case (unsigned int)DM_TABLE_CLEAR:
		return "clear";
	case (unsigned int)DM_TARGET_MSG:
		return "message";
	case (unsigned int)FIFREEZE:
		return "freeze";
	case (unsigned int)FITHAW:
		return "thaw";
	}
	return NULL;
}

static void die(void)
{
	kill(victim, SIGKILL);
	for (;;)
		pause();
}

int ioctl(int fd, unsigned long request, ...)
{
	const char *name;
	void *argument;
	va_list list;
	int result;

	va_start(list, request);
	argument = va_arg(list, void *);
	va_end(list);

	name = getpid() == victim ? changing(request, argument) : NULL;
	if (!name)
		return real_ioctl(fd, request, argument);

	calls++;
	if (log_fd >= 0)
		dprintf(log_fd, "%ld %s\n", calls, name);
	if (calls == target && when == BEFORE)
		die();
	result = real_ioctl(fd, request, argument);
	if (calls == target && when == AFTER)
		die();
	if (calls == target && when == STOP)
		kill(victim, SIGSTOP);
	return result;
}
