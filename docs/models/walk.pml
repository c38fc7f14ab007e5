/* walk.pml: iterations over a content that is exchanged (decision 0012).  A walk, LOOKS buckets long, stores nothing; X
 * exchanges one after the other, each by a process of its own that may be killed (KILLS times) before any of its stores,
 * and that keeps the old tree for as long or short as it likes.  A tree is one word, the number of its content, 0 when it
 * was taken down; a look at a bucket is one read of it.  A walk that has given nothing away begins again when its content
 * was exchanged.  Promise: what a walk accepts is of its content.
 * Mutations: NOGONE a walk looks at the version alone   GONELAST gone is stored when the tree was taken down
 *   VERFIRST the version is looked at before gone   NOTAKEN what a dead one left is built over, not taken down */
#ifndef X
#define X 4
#endif
#ifndef LOOKS
#define LOOKS 3
#endif
#ifndef KILLS
#define KILLS 2
#endif
byte epoch = 1, gone, tree[2];
byte kills = KILLS;
#define SIDE(c) ((c) & 1)
#define KILL :: kills > 0 -> kills--; goto next

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
#ifndef NOTAKEN
		if :: tree[SIDE(epoch + 1)] != 0 -> takeDown(epoch - 1) :: else fi;
#endif
		if :: true -> tree[SIDE(epoch + 1)] = epoch + 1 KILL fi;
		if :: true -> epoch++ KILL fi;
		takeDown(epoch - 1)
	od
}

proctype walk()
{
	byte c, v, r, i, look;
again:	c = epoch;
	do
	:: i == LOOKS -> break
	:: else ->
		r = tree[SIDE(c)];
#ifdef VERFIRST
		v = epoch; look = gone;
#else
		look = gone; v = epoch;
#endif
		if
#ifdef NOGONE
		:: v == c || i > 0 && v == c + 1 -> assert(r == c); i++
#else
		:: v == c || i > 0 && v == c + 1 && look != c -> assert(r == c); i++
#endif
		:: else ->
			if
			:: i == 0 -> goto again
			:: else -> break /* ends early */
			fi
		fi
	od
}

init { atomic { tree[1] = 1; run walk(); run exchanges() } }
