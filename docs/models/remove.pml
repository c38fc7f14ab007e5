/* remove.pml: last detacher against new attacher.  Inodes 1..I; name -> inode; per inode: byte A (shared by attachers,
 * exclusive to whoever unlinks) and life bytes.  No flag says that an inode is retired: the name does.  N processes
 * attach (creating when the name is free), use, detach; killed anywhere (locks drop).  Promises: an attached process is
 * always on the inode the name points to; nobody waits for ever; when nobody was killed the name is gone at the end.
 * Mutations: NOCHECK attacher does not re-check name under A   NOSAME unlink without checking name -> my inode
 *   NOA unlink without A   TRYA detacher gives up when A is busy   LATE life byte released only after the check */
#ifndef N
#define N 3
#endif
#ifndef D
#define D 1
#endif
#define I 5
byte name, made; byte excl[I], shr[I], live[I]; byte kills;
#define MAYDIE if :: skip :: atomic { kills < D -> kills++; if :: hs -> shr[i]-- :: else fi; if :: he -> excl[i] = 0 :: else fi; if :: hl -> live[i]-- :: else fi; goto end } fi
inline exclA() {
#ifdef NOA
  skip
#else
  atomic { excl[i] == 0 && shr[i] == 0 -> excl[i] = 1; he = 1 }
#endif
}
#define DROPX atomic { if :: he -> excl[i] = 0; he = 0 :: else fi }
#ifdef NOSAME
#define MINE true
#else
#define MINE (name == i)
#endif
#ifdef NOA
#define UNL name = 0
#else
#define UNL MAYDIE; name = 0
#endif
inline unlink_() { if :: MINE -> UNL :: else fi }
proctype P() { byte i, j; bool hs, he, hl;
open: atomic { i = name; if :: i == 0 && made < I - 1 -> made++; j = made :: i == 0 && made >= I - 1 -> goto end :: else fi };
  if :: i == 0 -> MAYDIE; atomic { if :: name == 0 -> name = j; i = j :: else -> goto open fi } :: else fi;
  MAYDIE;
  atomic { excl[i] == 0 -> shr[i]++; hs = 1 }; MAYDIE;
#ifndef NOCHECK
  if :: name != i ->
        atomic { shr[i]--; hs = 0 };
        goto open
     :: else fi; MAYDIE;
#endif
  atomic { live[i]++; hl = 1 }; MAYDIE;
  atomic { shr[i]--; hs = 0 };
  assert(name == i); MAYDIE; assert(name == i);
#ifndef LATE
  atomic { live[i]--; hl = 0 }; MAYDIE;
#endif
#ifdef TRYA
  atomic { if :: excl[i] == 0 && shr[i] == 0 -> excl[i] = 1; he = 1 :: else -> goto end fi };
#else
  exclA();
#endif
  MAYDIE;
#ifdef LATE
  if :: live[i] == 1 && MINE -> unlink_() :: else fi; MAYDIE;
  DROPX; atomic { live[i]--; hl = 0 }
#else
  if :: live[i] == 0 && MINE -> unlink_() :: else fi; MAYDIE;
  DROPX
#endif
  ;
end: skip }
init { byte k; atomic { do :: k < N -> run P(); k++ :: else -> break od };
  atomic { _nr_pr == 1 -> if :: kills == 0 && made < I - 1 -> assert(name == 0) :: else fi } }
