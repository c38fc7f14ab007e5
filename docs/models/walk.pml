/* walk.pml: iterations over a content that is exchanged (decision 0012).  Two walks, each LOOKS buckets long, one of which
 * may be killed; X exchanges one after the other, each by a process of its own that may be killed (KILLS times) before any
 * of its stores, and that waits for the walks over the old content, but not longer than it likes (LATE times).  A tree is
 * one word, the number of its content, 0 when it was taken down; a look at a bucket is one read of it.  Promises: what a walk
 * accepts is of its content; a walk that was not waited for too long, with nobody killed in an exchange, is not cut off.
 * Mutations: NOGONE a walk looks at the version alone   GONELAST gone is stored when the tree was taken down
 *   VERFIRST the version is looked at before gone   NOWAIT nobody waits for walks   NORECHECK a walk does not look at the
 *   version again when it is counted   ANYGEN a walk counts itself out though the count was cleared   No error: ONESIDE one
 *   count for both sides: an exchange waits for walks over the new content too */
#ifndef X
#define X 3
#endif
#ifndef LOOKS
#define LOOKS 2
#endif
#ifndef KILLS
#define KILLS 1
#endif
#ifndef LATE
#define LATE 1
#endif
byte epoch = 1, gone, tree[2], walks[2], gen[2];
byte kills = KILLS, lates = LATE;
bool lost; /* a walk was killed */
bool cutAny; /* an exchange was killed: what it left is taken down without waiting */
#define SIDE(c) ((c) & 1)
#ifdef ONESIDE
#define COUNT(c) 0
#else
#define COUNT(c) SIDE(c)
#endif
#define KILL :: kills > 0 -> kills--; cutAny = true; goto next

inline takeDown(c)
{
#ifdef GONELAST
	if :: true -> tree[SIDE(c)] = 0 KILL fi;
	if :: true -> gone = c KILL fi
#else
	if :: true -> gone = c KILL fi;
	if :: true -> tree[SIDE(c)] = 0 KILL fi
#endif
}

proctype exchanges()
{
	byte n;
next:	do
	:: n == X -> break
	:: else -> n++;
		if :: tree[SIDE(epoch + 1)] != 0 -> takeDown(epoch - 1) :: else fi;
		if :: true -> tree[SIDE(epoch + 1)] = epoch + 1 KILL fi;
		if :: true -> epoch++ KILL fi;
#ifndef NOWAIT
		do
		:: walks[COUNT(epoch - 1)] == 0 -> break
		:: walks[COUNT(epoch - 1)] != 0 && (lates > 0 || lost) ->
			d_step { lates = (lates > 0 -> lates - 1 : 0); walks[COUNT(epoch - 1)] = 0; gen[COUNT(epoch - 1)]++ }; break
		KILL
		od;
#endif
		takeDown(epoch - 1)
	od
}

proctype walk()
{
	byte c, g, v, r, i, look;
	bool cut;
again:	c = epoch;
	d_step { walks[COUNT(c)]++; g = gen[COUNT(c)] };
#ifndef NORECHECK
	if
	:: epoch == c
	:: else -> goto leave
	fi;
#endif
	do
	:: i == LOOKS -> break
	:: _pid == 1 -> lost = true; goto dead /* killed, and counted for ever */
	:: else -> i++;
		r = tree[SIDE(c)];
#ifdef VERFIRST
		v = epoch; look = gone;
#else
		look = gone; v = epoch;
#endif
		if
#ifdef NOGONE
		:: v == c || v == c + 1 -> assert(r == c)
#else
		:: v == c || v == c + 1 && look != c -> assert(r == c)
#endif
		:: else -> cut = true; break
		fi
	od;
	assert(!cut || cutAny || gen[COUNT(c)] != g);
leave:	skip;
	d_step {
		if
#ifdef ANYGEN
		:: walks[COUNT(c)] > 0 -> walks[COUNT(c)]--
#else
		:: gen[COUNT(c)] == g && walks[COUNT(c)] > 0 -> walks[COUNT(c)]--
#endif
		:: else
		fi
	};
	if :: i == 0 && !cut -> goto again :: else fi;
dead:	skip
}

init { atomic { tree[1] = 1; run walk(); run walk(); run exchanges() } }
