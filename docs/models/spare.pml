/* spare.pml: writes over one entry by way of the spare of its stripe (decision 0017).  Two writers, N writes each, any of
 * them killed KILLS times in all before any of its stores; whoever takes the lock over settles what the dead one left, and
 * may be killed there.  A reader beside them takes LOOKS looks.  A block has two halves, both the number of the write that
 * has filled it.  Promises: what a reader accepts is one entry, and the current one at a time of his look; in the end every
 * block in use is the entry or the spare, and they are two.
 * Mutations: NOVER a trade does not raise the version   REPAIRNOVER its repair does not   REPAIRNOSPARE nor stores the spare
 *   FREENEW the repair frees the new block also if it is the spare   KEEPNEW it never does   NORECORD no record is opened
 *   EARLYFILL the spare is filled before the lock is taken   NOLOOK the reader compares no version
 * No error: SPAREFIRST the spare is stored before the version is raised: nobody fills it before the unlock */
#ifndef N
#define N 2
#endif
#ifndef KILLS
#define KILLS 2
#endif
#ifndef LOOKS
#define LOOKS 2
#endif
#define NB 5
byte half1[NB], half2[NB];
bool used[NB];
byte slot = 1, version, spare; /* blocks; 0: none */
byte lock; /* 0: free; else 1 + its holder */
bool dead[2];
byte rop[2], rold[2], rnew[2]; /* 0 none, 1 alloc, 2 trade */
byte kills = KILLS, seq = 1, current = 1, ended;
#define KILL :: kills > 0 -> kills--; dead[me] = true; goto killed

inline settle(w) /* a record that names the lock, by me, who has taken it over */
{
	if
	:: rop[w] == 2 ->
		if
		:: slot == rnew[w] ->
#ifndef REPAIRNOVER
			if :: true -> version++ KILL fi;
#endif
#ifndef REPAIRNOSPARE
			if :: true -> spare = rold[w] KILL fi;
#endif
		:: else ->
#ifdef FREENEW
			if :: true -> used[rnew[w]] = false KILL fi;
#elif !defined(KEEPNEW)
			if
			:: spare == 0 -> if :: true -> used[rnew[w]] = false KILL fi
			:: else
			fi;
#endif
		fi;
		if :: true -> rop[w] = 0 KILL fi
	:: else
	fi
}

proctype writer(byte me)
{
	byte n, b, i, other;
	bool fresh;
	other = 1 - me;
	do
	:: n == N -> break
	:: else -> n++; fresh = false;
		b = spare; /* a hint */
		if
		:: b == 0 -> /* reserve, under the name of a record */
			if
			:: true -> d_step { b = 1; do :: b < NB && used[b] -> b++ :: else -> break od; assert(b < NB); rnew[me] = b; rop[me] = 1; used[b] = true }
			KILL
			fi;
			fresh = true
		:: else
		fi;
#ifdef EARLYFILL
		if :: !fresh -> half1[b] = 0 :: else fi;
#endif
		do
		:: atomic { lock == 0 -> lock = 1 + me }; break
		:: atomic { lock == 1 + other && dead[other] -> lock = 1 + me }; settle(other); settle(me); break
		od;
		if
		:: !fresh && spare == 0 -> lock = 0; n--; goto again /* it was freed: not in this model */
		:: !fresh -> b = spare
		:: fresh && spare != 0 -> /* another one was faster: the reserved block goes in, the old one is freed */
			goto plain
		:: else
		fi;
		if :: true -> d_step { seq++; i = seq }; half1[b] = i KILL fi;
		if :: true -> half2[b] = i KILL fi;
#ifndef NORECORD
		if :: true -> d_step { rold[me] = slot; rnew[me] = b; rop[me] = 2 } KILL fi;
#else
		rop[me] = 0;
#endif
		if :: true -> d_step { rold[me] = slot; slot = b; current = i } KILL fi;
#ifdef SPAREFIRST
		if :: true -> spare = rold[me] KILL fi;
#endif
#ifndef NOVER
		if :: true -> version++ KILL fi;
#endif
#ifndef SPAREFIRST
		if :: true -> spare = rold[me] KILL fi;
#endif
		if :: true -> rop[me] = 0 KILL fi;
		if :: true -> lock = 0 KILL fi;
		goto again;
plain:		if :: true -> used[b] = false KILL fi; /* given back, and written over at the next turn */
		if :: true -> rop[me] = 0 KILL fi;
		if :: true -> lock = 0 KILL fi;
		n--;
again:		skip
	od;
killed:	ended++
}

proctype reader()
{
	byte v, s, a, b, least, i;
	do
	:: i == LOOKS -> break
	:: else -> i++;
		least = current; v = version; s = slot; a = half1[s]; b = half2[s];
		if
#ifndef NOLOOK
		:: version != v
#endif
		:: else -> assert(a == b && a >= least && a <= current)
		fi
	od;
	ended++
}

/* the last survivor: takes the lock over, and the slots */
proctype last()
{
	byte me, w, i, n;
	ended == 3;
	kills = 0;
	if :: lock != 0 -> settle(0); settle(1); lock = 0 :: else fi;
	for (w : 0 .. 1) {
		if :: rop[w] == 1 -> used[rnew[w]] = false; rop[w] = 0 :: else fi;
		assert(rop[w] == 0)
	}
	for (i : 1 .. NB - 1) {
		if :: used[i] -> n++; assert(i == slot || i == spare) :: else fi
	}
	assert(slot != spare && half1[slot] == current && half2[slot] == current);
	assert(n == (spare == 0 -> 1 : 2));
killed:	skip
}

init { atomic { used[1] = true; half1[1] = 1; half2[1] = 1; run writer(0); run writer(1); run reader(); run last() } }
