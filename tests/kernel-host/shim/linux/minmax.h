/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SHIM_LINUX_MINMAX_H
#define SHIM_LINUX_MINMAX_H

/* Like the kernel's, they refuse to compare different types. */
#define shim_cmp(x, op, y)						\
	({								\
		__typeof__(x) shim_x = (x);				\
		__typeof__(y) shim_y = (y);				\
		_Static_assert(__builtin_types_compatible_p(		\
				__typeof__(shim_x), __typeof__(shim_y)), \
			       "min/max of different types");		\
		shim_x op shim_y ? shim_x : shim_y;			\
	})
#define min(x, y)		shim_cmp(x, <, y)
#define max(x, y)		shim_cmp(x, >, y)
#define min_t(type, x, y)	min((type)(x), (type)(y))

#endif
