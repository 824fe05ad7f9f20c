/* Stands between a program and its clocks (LD_PRELOAD): the file that CLOCKS names holds two numbers of seconds, what the wall clock is
   ahead, and how long the host has slept. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static int (*real)(clockid_t, struct timespec *);

int clock_gettime(clockid_t clock, struct timespec *out)
{
	long long wall = 0, asleep = 0;
	FILE *file;

	if (!real)
		real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
	if (real(clock, out) != 0)
		return -1;
	if (clock != CLOCK_REALTIME && clock != CLOCK_BOOTTIME)
		return 0;
	file = fopen(getenv("CLOCKS"), "r");
	if (file) {
		if (fscanf(file, "%lld %lld", &wall, &asleep) != 2)
			wall = asleep = 0;
		fclose(file);
	}
	out->tv_sec += clock == CLOCK_REALTIME ? wall : asleep;
	return 0;
}
