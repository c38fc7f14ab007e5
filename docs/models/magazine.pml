/* magazine.pml: allocation without held leases.  PAGES pages of BL blocks; per page a word (who is in it), U and F bits, an
 * epoch.  G goroutines of W (killed at any step) and T (alive) replace or empty a target under its lock: W's g works on
 * target g, T on both.  New blocks come from rounds of the private magazine, rounds from takes and from own frees.  R1
 * (killed anywhere) and after it R2 settle W's records, then leave its pages; T settles what it finds under a lock of the
 * dead.  Named is one step per record.  Promises: nothing is handed out that is owned, or (unchecked with HARM) named by
 * another's open record; nothing is freed twice; at the end every target owns one block, in use, not freed, nobody
 * else's; no other block is in use; nobody is in a page.
 * Mutations: NOEPOCH a pop does not compare the epoch   EPOCHLATE taker raises it after collecting   EPOCHOUT after leaving
 *   WORDFIRST freer reads the word before the epoch   READCLOSED both after closing its record
 *   BUSYPUSH freer pushes though the page was busy   EARLYPOP (G=2) round usable before its record is closed
 *   NOQUAR taker collects named blocks   LEAVEFIRST dead's pages left before its records are settled   NOBUSY a pop does
 *   not enter the page   ENTERLATE page entered before "entered" says so   FIRSTF taker clears F before U
 * No error: READLATE freer reads epoch, then word, after the freed bit: while its record names the block nobody collects */
#ifndef PAGES
#define PAGES 1
#endif
#ifndef BL
#define BL 2
#endif
#ifndef G
#define G 1
#endif
#ifndef WOPS
#define WOPS 1
#endif
#ifndef TOPS
#define TOPS 2
#endif
#define B (PAGES * BL)
#define NIL 7
#define BIT(b) (1 << (b))
#define IN(s, b) (((s) >> (b)) & 1)
#define PAGE(b) ((b) / BL)
#define BLOCKS(p) (((1 << BL) - 1) << ((p) * BL))
#define ALLOC 1
#define REPL 2
byte word[PAGES], ep[PAGES], U, F;                    /* word: 0, or 1 W, 2 T is in the page */
byte t[2] = NIL, lk[2];                                /* lk: 0, or 1 + goroutine, 4 R1, 5 R2 */
byte op[3], old[3] = NIL, new[3] = NIL, ent[3];        /* records 0, 1 of W, 2 of T */
byte mag[2 * B];                                       /* 1 + epoch of the round that the block is in, by process */
bool dead, r1dead, r1done;
#define ME (g / 2)
#define NAMES(x, b) (op[x] && (old[x] == b || new[x] == b))
#define OWN(b) (t[0] == b || t[1] == b)
#define USED(b) (IN(U, b) && !IN(F, b))
#define DEADLK(i) ((dead && (lk[i] == 1 || lk[i] == 2)) || (r1dead && lk[i] == 4))
#ifdef HARM
#define UNNAMED(b) true
#else
#define UNNAMED(b) ((g == 0 || !NAMES(0, b)) && (g == 1 || !NAMES(1, b)) && (g == 2 || !NAMES(2, b)))
#endif
#ifdef NOQUAR
#define SCAN(x) skip
#else
#define SCAN(x) f = (op[x] -> f & ~(BIT(old[x]) | BIT(new[x])) : f)
#endif

#define CLOSE(x) op[x] = 0; old[x] = NIL; new[x] = NIL
#define LOCKED(i) (i < G)                               /* target 1 is T's own if W has one goroutine */
inline again(b) { if :: USED(b) -> F = F | BIT(b) :: else fi }          /* free b, which a record of the dead names */
inline settle(x) {                                                     /* under its lock, or claimed if it is ALLOC */
  if :: op[x] == REPL && t[x] == new[x] -> if :: old[x] != NIL -> again(old[x]) :: else fi
     :: else -> if :: new[x] != NIL -> again(new[x]) :: else fi fi;
  atomic { CLOSE(x) } }
#ifdef ENTERLATE
#define SAY(p) skip
#else
#define SAY(p) ent[g] = (g == 2 -> 0 : p + 1)             /* nobody recovers T */
#endif
#define RESET b = NIL; o = NIL; e = 0; w = 0; p = 0; f = 0; i = 0; del = 0
#define LOSE(m) b = 0; do :: b < B -> mag[(m) * B + b] = 0; b++ :: else -> break od
inline enter(p) {                                                      /* else goto out */
#ifdef ENTERLATE
  if :: atomic { word[p] == 0 -> word[p] = ME + 1 } :: atomic { word[p] != 0 -> RESET; goto out } fi;
  ent[g] = p + 1
#else
  if :: atomic { word[p] == 0 -> word[p] = ME + 1 } :: atomic { word[p] != 0 -> ent[g] = 0; RESET; goto out } fi
#endif
}
inline leave(p) { atomic { word[p] = 0; ent[g] = 0 } }
inline look(p) {
#ifdef WORDFIRST
  w = word[p]; e = ep[p]
#else
  e = ep[p]; w = word[p]
#endif
#ifdef BUSYPUSH
  ; w = 0
#endif
}
#define PUSH if :: w == 0 -> mag[ME * B + o] = e + 1 :: else fi

proctype P(byte g) { byte n, i, b, o, e, w, f, p; bool del;
  { RESET;
    do :: atomic { n < (g == 2 -> TOPS : WOPS) -> n++; i = g;
         if :: g == 2 -> if :: i = 0 :: i = 1 fi :: else fi;
         if :: del = 1; goto change :: goto pop :: if :: p = 0 :: PAGES == 2 -> p = 1 fi; SAY(p) fi };
       enter(p);                                        /* take */
#if !defined(EPOCHLATE) && !defined(EPOCHOUT)
             ep[p] = ep[p] + 1;
#endif
             f = F & BLOCKS(p);
             if :: f -> SCAN(0);
#if G == 2
                   SCAN(1);
#endif
                   SCAN(2);
#ifdef FIRSTF
                   F = F & ~f; U = U & ~f
#else
                   U = U & ~f; F = F & ~f
#endif
                :: else fi;
#ifdef EPOCHLATE
             ep[p] = ep[p] + 1;
#endif
             atomic { b = 0;
               do :: b < B -> if :: PAGE(b) == p && !IN(U | F, b) ->
#ifdef EPOCHOUT
                                    mag[ME * B + b] = ep[p] + 2
#else
                                    mag[ME * B + b] = ep[p] + 1
#endif
                                 :: else fi; b++
                  :: else -> break od;
               b = NIL; f = 0; word[p] = 0; ent[g] = 0 };
#ifdef EPOCHOUT
             ep[p] = ep[p] + 1;
#endif
pop:   atomic { b = 0;
         do :: b < B && mag[ME * B + b] -> break :: b < B -> b++ :: b == B -> RESET; goto out od;
         e = mag[ME * B + b] - 1; mag[ME * B + b] = 0; p = PAGE(b); SAY(p) };
#ifdef NOBUSY
       if :: ep[p] == e :: else -> atomic { RESET; goto out } fi;
#else
       enter(p);
#ifndef NOEPOCH
       if :: ep[p] == e :: atomic { ep[p] != e -> word[p] = 0; ent[g] = 0; RESET; goto out } fi;
#endif
#endif
       atomic { assert(!OWN(b) && UNNAMED(b)); old[g] = NIL; new[g] = b; op[g] = ALLOC };
       atomic { e = 0; if :: IN(F, b) -> F = F & ~BIT(b) :: else -> U = U | BIT(b) fi };
#ifndef NOBUSY
       leave(p);
#endif
change: atomic { if :: !LOCKED(i) || lk[i] == 0 -> f = 0 :: DEADLK(i) -> f = 1 fi; if :: LOCKED(i) -> lk[i] = g + 1 :: else fi;
         if :: f == 0 -> goto mine :: else -> f = 0 fi };
       if :: i == 0 && op[0] == REPL -> settle(0) :: i == 1 && op[1] == REPL -> settle(1) :: else fi;
mine:  atomic { o = t[i]; if :: del && o == NIL -> goto unlock :: else fi;
         old[g] = o; new[g] = b; op[g] = REPL };
       atomic { assert(b == NIL || (!OWN(b) && USED(b))); t[i] = b; w = 1 };
       if :: o != NIL -> p = PAGE(o);
#if !defined(READLATE) && !defined(READCLOSED)
             look(p);
#endif
             atomic { assert(USED(o)); F = F | BIT(o) };
#ifdef READLATE
             look(p);
#endif
          :: else fi;
#ifdef EARLYPOP
       PUSH; atomic { CLOSE(g) };
#else
#ifdef READCLOSED
       atomic { CLOSE(g) }; if :: o != NIL -> look(p) :: else fi; PUSH;
#else
       atomic { CLOSE(g); PUSH };
#endif
#endif
unlock: atomic { if :: LOCKED(i) -> lk[i] = 0 :: else fi; RESET };
out:   skip
    :: atomic { n == (g == 2 -> TOPS : WOPS) -> if :: g == 2 || G == 1 -> LOSE(ME) :: else fi; RESET; break } od
  } unless { atomic { g != 2 && dead -> RESET; n = 0 } } }

inline record(x) {
  if :: op[x] == REPL ->
        atomic { lk[x] == 0 || DEADLK(x) -> lk[x] = id };
        if :: op[x] == REPL -> settle(x) :: else fi;
        lk[x] = 0
     :: op[x] == ALLOC -> settle(x)
     :: else fi }
inline pass(x) {
  if :: ent[x] && word[ent[x] - 1] == 1 -> word[ent[x] - 1] = 0 :: else fi }
proctype R(byte id) {
  {
#ifdef LEAVEFIRST
    pass(0); pass(1);
#endif
    record(0);
#if G == 2
    record(1);
#endif
    pass(0);
#if G == 2
    pass(1);
#endif
    if :: id == 4 -> r1done = 1 :: else fi } unless { id == 4 && r1dead } }
proctype K() { byte b;                                        /* SIGKILL at any moment */
  atomic { dead = 1; LOSE(0); b = 0; run R(4) };
  if :: atomic { !r1done -> r1dead = 1; run R(5) } :: r1done fi }
#define OK(b) (OWN(b) -> USED(b) : !USED(b))
init { byte b;
  atomic { t[0] = 0; U = 1; run P(0); if :: G == 2 -> run P(1) :: else fi; run P(2); run K() };
  atomic { _nr_pr == 1 ->
    assert(t[0] != t[1] || t[0] == NIL); assert(!op[0] && !op[1] && !op[2]);
    do :: b < B -> assert(OK(b)); assert(!word[PAGE(b)]); b++ :: else -> break od } }
