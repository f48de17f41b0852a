/** Numbers of a system call: on x86-64, on arm64. Absent where the architecture lacks the call. */
type Numbers = readonly [x64: number | undefined, arm64: number | undefined];

/**
 * The system calls that a cell may make, whatever their arguments. Gathered from workerd under load with
 * `strace -f`, and completed with what libc and V8 choose instead on other kernels. None of them reaches
 * past the sandbox's namespaces: files are those of its root, sockets are unix sockets.
 */
export const ALLOWED: Readonly<Record<string, Numbers>> = {
  // Descriptors.
  read: [0, 63],
  write: [1, 64],
  readv: [19, 65],
  writev: [20, 66],
  pread64: [17, 67],
  pwrite64: [18, 68],
  preadv: [295, 69],
  pwritev: [296, 70],
  close: [3, 57],
  close_range: [436, 436],
  dup: [32, 23],
  dup2: [33, undefined],
  dup3: [292, 24],
  fcntl: [72, 25],
  lseek: [8, 62],
  pipe: [22, undefined],
  pipe2: [293, 59],
  eventfd2: [290, 19],
  signalfd4: [289, 74],
  sendfile: [40, 71],
  copy_file_range: [326, 285],

  // Files. The root is read-only, but for the cell's own directory and a small /tmp.
  open: [2, undefined],
  openat: [257, 56],
  access: [21, undefined],
  faccessat: [269, 48],
  faccessat2: [439, 439],
  stat: [4, undefined],
  lstat: [6, undefined],
  fstat: [5, 80],
  newfstatat: [262, 79],
  statx: [332, 291],
  statfs: [137, 43],
  fstatfs: [138, 44],
  readlink: [89, undefined],
  readlinkat: [267, 78],
  getdents64: [217, 61],
  getcwd: [79, 17],
  umask: [95, 166],
  mkdir: [83, undefined],
  mkdirat: [258, 34],
  rmdir: [84, undefined],
  unlink: [87, undefined],
  unlinkat: [263, 35],
  rename: [82, undefined],
  renameat: [264, 38],
  renameat2: [316, 276],
  ftruncate: [77, 46],
  fadvise64: [221, 223],
  fsync: [74, 82],
  fdatasync: [75, 83],
  flock: [73, 32],
  utimensat: [280, 88],

  // Sockets that exist; making one is a question of its family, see CONDITIONAL.
  connect: [42, 203],
  bind: [49, 200],
  listen: [50, 201],
  accept: [43, 202],
  accept4: [288, 242],
  shutdown: [48, 210],
  sendto: [44, 206],
  recvfrom: [45, 207],
  sendmsg: [46, 211],
  recvmsg: [47, 212],
  getsockname: [51, 204],
  getpeername: [52, 205],
  getsockopt: [55, 209],
  setsockopt: [54, 208],

  // Waiting and time.
  poll: [7, undefined],
  ppoll: [271, 73],
  epoll_create1: [291, 20],
  epoll_ctl: [233, 21],
  epoll_wait: [232, undefined],
  epoll_pwait: [281, 22],
  epoll_pwait2: [441, 441],
  nanosleep: [35, 101],
  clock_nanosleep: [230, 115],
  clock_gettime: [228, 113],
  clock_getres: [229, 114],
  gettimeofday: [96, 169],
  timerfd_create: [283, 85],
  timerfd_settime: [286, 86],
  timerfd_gettime: [287, 87],
  times: [100, 153],
  restart_syscall: [219, 128],

  // Memory. V8 compiles at run time, so memory may become executable.
  mmap: [9, 222],
  munmap: [11, 215],
  mprotect: [10, 226],
  mremap: [25, 216],
  madvise: [28, 233],
  mincore: [27, 232],
  brk: [12, 214],
  memfd_create: [319, 279],
  membarrier: [324, 283],
  pkey_alloc: [330, 289],
  pkey_free: [331, 290],
  pkey_mprotect: [329, 288],

  // The process and its threads. `execve` is how workerd itself begins; nothing else could be executed.
  execve: [59, 221],
  exit: [60, 93],
  exit_group: [231, 94],
  futex: [202, 98],
  set_robust_list: [273, 99],
  set_tid_address: [218, 96],
  rseq: [334, 293],
  arch_prctl: [158, undefined],
  gettid: [186, 178],
  getpid: [39, 172],
  getppid: [110, 173],
  getuid: [102, 174],
  geteuid: [107, 175],
  getgid: [104, 176],
  getegid: [108, 177],
  sched_yield: [24, 124],
  sched_getaffinity: [204, 123],
  sched_getparam: [143, 121],
  sched_getscheduler: [145, 120],
  getcpu: [309, 168],
  getpriority: [140, 141],
  getrlimit: [97, 163],
  // Limits can only be lowered: raising one takes a capability that the sandbox lacks.
  prlimit64: [302, 261],
  getrusage: [98, 165],
  sysinfo: [99, 179],
  uname: [63, 160],
  getrandom: [318, 278],

  // Signals, to the own process only: its pid namespace holds no other.
  rt_sigaction: [13, 134],
  rt_sigprocmask: [14, 135],
  rt_sigreturn: [15, 139],
  rt_sigpending: [127, 136],
  rt_sigtimedwait: [128, 137],
  sigaltstack: [131, 132],
  tgkill: [234, 131],
};

const EPERM = 1;
const ENOSYS = 38;
const EOPNOTSUPP = 95;

/**
 * Calls that are refused with an error, because who makes them goes on without: crash handlers that want
 * to start a program, thread pools that want a priority. Every call that is in no list ends the process.
 */
export const REFUSED: Readonly<Record<string, readonly [...Numbers, error: number]>> = {
  // libc then takes `clone`, whose flags a filter can read.
  clone3: [435, 435, ENOSYS],
  io_uring_setup: [425, 425, ENOSYS],
  fork: [57, undefined, EPERM],
  vfork: [58, undefined, EPERM],
  kill: [62, 129, EPERM],
  tkill: [200, 130, EPERM],
  wait4: [61, 260, EPERM],
  waitid: [247, 95, EPERM],
  setpriority: [141, 140, EPERM],
  sched_setparam: [142, 118, EPERM],
  sched_setscheduler: [144, 119, EPERM],
  sched_setaffinity: [203, 122, EPERM],
  sched_setattr: [314, 274, EPERM],
  mlock: [149, 228, EPERM],
  munlock: [150, 229, EPERM],
  mbind: [237, 235, EPERM],
  get_mempolicy: [239, 236, EPERM],
  set_mempolicy: [238, 237, EPERM],
  personality: [135, 92, EPERM],
  // It can take room of the disk beyond a file's end, which no bound of a file's size is about.
  fallocate: [285, 47, EOPNOTSUPP],
};

/** A call that is allowed for some values of one argument, and refused with an error for others. */
export interface Condition {
  readonly numbers: Numbers;
  /** Which argument, from 0. Its low 32 bits are what the kernel reads of these. */
  readonly argument: number;
  readonly rule:
    | { readonly kind: "one-of"; readonly values: ReadonlyArray<number> }
    | { readonly kind: "flags"; readonly required: number; readonly forbidden: number };
  readonly error: number;
}

const AF_UNIX = 1;
const EAFNOSUPPORT = 97;
const ENOTTY = 25;
const CLONE_THREAD = 0x10000;
// CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
const CLONE_NAMESPACES = 0x7e020000;

export const CONDITIONAL: Readonly<Record<string, Condition>> = {
  socket: {
    numbers: [41, 198],
    argument: 0,
    rule: { kind: "one-of", values: [AF_UNIX] },
    error: EAFNOSUPPORT,
  },
  socketpair: {
    numbers: [53, 199],
    argument: 0,
    rule: { kind: "one-of", values: [AF_UNIX] },
    error: EAFNOSUPPORT,
  },
  // Threads, but neither processes nor namespaces.
  clone: {
    numbers: [56, 220],
    argument: 0,
    rule: { kind: "flags", required: CLONE_THREAD, forbidden: CLONE_NAMESPACES },
    error: EPERM,
  },
  // PR_SET_NAME, PR_GET_NAME, PR_SET_VMA: names of threads and of memory.
  prctl: {
    numbers: [157, 167],
    argument: 0,
    rule: { kind: "one-of", values: [15, 16, 0x53564d41] },
    error: EPERM,
  },
  // TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIOCLEX, FIONCLEX.
  ioctl: {
    numbers: [16, 29],
    argument: 1,
    rule: { kind: "one-of", values: [0x5401, 0x5413, 0x541b, 0x5421, 0x5451, 0x5450] },
    error: ENOTTY,
  },
};
