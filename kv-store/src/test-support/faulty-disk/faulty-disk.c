/*
 * A disk that fails, put by LD_PRELOAD between a process and its files (see faulty-disk.ts).
 *
 * Of every file whose path has ATOLL_FAULTY_FILES in it, it keeps, beside the file itself, which is what the page cache shows,
 * the content that has reached the disk: what was written reaches it with the next fsync or fdatasync of the
 * file. A power cut puts that content in the file's place, with some of what was written since, and kills the
 * process. After an fsync that failed, what it should have written never reaches the disk (as Linux does it:
 * the pages count as clean), although reads go on to show it.
 *
 * A process that starts after a power cut finds that the machine has been started anew: LMDB asks for the
 * kernel's boot id, to know whether what it had written and not synced is still there.
 *
 * Orders come through the shared memory of the file ATOLL_FAULTS.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define SECTOR 512
#define FILES_MAX 64

/* The words of the shared memory; faulty-disk.ts has the same. */
static volatile struct {
  int32_t sync_errno;   /* each fsync fails with this */
  int32_t write_errno;  /* each write fails with this */
  int32_t fail_in;      /* counts writes: the one that takes it to 0 fails with EIO */
  int32_t tear_in;      /* counts writes: of the one that takes it to 0, half is done, and then power is cut */
  int32_t cut_in;       /* counts writes and syncs: before the one that takes it to 0, power is cut */
  int32_t sync_lies;    /* an fsync says that it has, and has not */
  int32_t seed;         /* which of the unsynced writes reach the disk at a cut */
  int32_t faults;       /* how often something failed */
  int32_t lost;         /* writes that did not reach the disk, or not wholly */
  int32_t boots;        /* how often the machine was started anew */
  int32_t fail_below;   /* each write to a place below this fails with EIO */
  int32_t sync_micros;  /* each fsync takes so long, whatever else becomes of it */
} *orders;

struct write {
  struct write *next;
  off_t at; /* -1: the file is cut, or grows, to `length` */
  size_t length;
  char *bytes;
};

struct file {
  ino_t inode;
  char path[1024];
  char *disk;
  size_t size, capacity;
  struct write *unsynced, **last;
};

static struct file files[FILES_MAX];
static int file_count;
static const char *part;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void start(void) {
  const char *path = getenv("ATOLL_FAULTS");
  part = getenv("ATOLL_FAULTY_FILES");
  if (path == NULL || part == NULL) return;
  int fd = open(path, O_RDWR | O_CLOEXEC);
  if (fd < 0) return;
  void *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (memory != MAP_FAILED) orders = memory;
  close(fd);
}

static void resize(struct file *file, size_t size) {
  if (size > file->capacity) {
    file->capacity = size * 2;
    file->disk = realloc(file->disk, file->capacity);
    if (file->disk == NULL) abort();
  }
  if (size > file->size) memset(file->disk + file->size, 0, size - file->size);
  file->size = size;
}

/* What is behind a descriptor when it is a file of ours. The first look at one is before its first write. */
static struct file *file_of(int fd) {
  if (orders == NULL) return NULL;
  char link[64], path[1024];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return NULL;
  path[length] = 0;
  if (strstr(path, part) == NULL) return NULL;
  /* SQLite's and LMDB's shared memory holds nothing that must last. */
  if (strstr(path, "-shm") != NULL || strstr(path, "lock.mdb") != NULL) return NULL;
  struct stat status;
  if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) return NULL;
  for (int index = 0; index < file_count; index += 1) {
    /* A file that was removed leaves its number to the next one. */
    int is_same = files[index].inode == status.st_ino && strcmp(files[index].path, path) == 0;
    if (is_same) return &files[index];
  }
  if (file_count == FILES_MAX) abort();
  struct file *file = &files[file_count++];
  file->inode = status.st_ino;
  strcpy(file->path, path);
  file->last = &file->unsynced;
  resize(file, status.st_size);
  int own = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
  for (size_t at = 0; at < file->size;) {
    ssize_t got = syscall(SYS_pread64, own, file->disk + at, file->size - at, at);
    if (got <= 0) abort();
    at += got;
  }
  syscall(SYS_close, own);
  return file;
}

static void reach_disk(struct file *file, struct write *write, size_t length) {
  if (write->at < 0) return resize(file, write->length);
  if (write->at + length > file->size) resize(file, write->at + length);
  memcpy(file->disk + write->at, write->bytes, length);
}

static void forget(struct file *file) {
  while (file->unsynced != NULL) {
    struct write *write = file->unsynced;
    file->unsynced = write->next;
    free(write->bytes);
    free(write);
  }
  file->last = &file->unsynced;
}

static void note(struct file *file, off_t at, const void *bytes, size_t length) {
  struct write *write = calloc(1, sizeof *write);
  if (write == NULL) abort();
  write->at = at;
  write->length = length;
  if (at >= 0) {
    write->bytes = malloc(length + 1);
    if (write->bytes == NULL) abort();
    memcpy(write->bytes, bytes, length);
  }
  *file->last = write;
  file->last = &write->next;
}

static void sync_all(struct file *file) {
  for (struct write *write = file->unsynced; write != NULL; write = write->next) {
    reach_disk(file, write, write->length);
  }
  forget(file);
}

static uint32_t dice(void) {
  uint32_t state = (uint32_t)orders->seed * 1664525u + 1013904223u;
  orders->seed = (int32_t)state;
  return state >> 8;
}

/* Of each unsynced write nothing, all, or the first sectors reach the disk. */
static void cut_power(void) {
  for (int index = 0; index < file_count; index += 1) {
    struct file *file = &files[index];
    for (struct write *write = file->unsynced; write != NULL; write = write->next) {
      uint32_t luck = dice() % 3;
      size_t sectors = dice() % (write->length / SECTOR + 1);
      if (luck == 0) reach_disk(file, write, write->length);
      else orders->lost += 1;
      if (luck == 1 && write->at >= 0) reach_disk(file, write, sectors * SECTOR);
    }
    int fd = syscall(SYS_openat, AT_FDCWD, file->path, O_RDWR | O_CLOEXEC);
    /* A file that is gone, such as the journal of a transaction that is over. */
    struct stat status;
    if (fd < 0 || fstat(fd, &status) != 0 || status.st_ino != file->inode) continue;
    for (size_t at = 0; at < file->size;) {
      ssize_t put = syscall(SYS_pwrite64, fd, file->disk + at, file->size - at, at);
      if (put <= 0) abort();
      at += put;
    }
    syscall(SYS_ftruncate, fd, file->size);
    syscall(SYS_close, fd);
  }
  orders->faults += 1;
  orders->boots += 1;
  syscall(SYS_kill, getpid(), SIGKILL);
}

static int counts_down(volatile int32_t *order) {
  return *order > 0 && --*order == 0;
}

static int fail(int code) {
  orders->faults += 1;
  errno = code;
  return -1;
}

/* `at` -1 is where the descriptor stands. */
static ssize_t plain_write(int fd, const void *bytes, size_t length, off_t at) {
  if (at < 0) return syscall(SYS_write, fd, bytes, length);
  return syscall(SYS_pwrite64, fd, bytes, length, at);
}

static ssize_t write_file(struct file *file, int fd, const void *bytes, size_t length, off_t at) {
  if (orders->write_errno != 0) return fail(orders->write_errno);
  if (counts_down(&orders->fail_in)) return fail(EIO);
  if (counts_down(&orders->cut_in)) cut_power();
  int flags = fcntl(fd, F_GETFL);
  off_t place = at >= 0 ? at : lseek(fd, 0, flags & O_APPEND ? SEEK_END : SEEK_CUR);
  if (place < orders->fail_below) return fail(EIO);
  if (counts_down(&orders->tear_in)) {
    note(file, place, bytes, length / 2);
    sync_all(file);
    cut_power();
  }
  ssize_t done = plain_write(fd, bytes, length, at);
  if (done > 0) note(file, place, bytes, done);
  if (flags & O_DSYNC && orders->sync_lies == 0) sync_all(file);
  return done;
}

static int sync_file(struct file *file) {
  if (counts_down(&orders->cut_in)) cut_power();
  if (orders->sync_errno != 0) {
    forget(file);
    return fail(orders->sync_errno);
  }
  /* The machine's own disk is not asked: what counts is what is kept here. */
  if (orders->sync_lies == 0) sync_all(file);
  return 0;
}

static int truncate_file(struct file *file, int fd, off_t length) {
  if (orders->write_errno != 0) return fail(orders->write_errno);
  int done = syscall(SYS_ftruncate, fd, length);
  if (done == 0) note(file, -1, NULL, length);
  return done;
}

/* Locked while it has a file; nobody waits for a pipe or a socket of somebody else. */
static struct file *take(int fd) {
  if (orders == NULL) return NULL;
  pthread_mutex_lock(&lock);
  struct file *file = file_of(fd);
  if (file == NULL) pthread_mutex_unlock(&lock);
  return file;
}

static ssize_t faulty_write(int fd, const void *bytes, size_t length, off_t at) {
  struct file *file = take(fd);
  if (file == NULL) return plain_write(fd, bytes, length, at);
  ssize_t done = write_file(file, fd, bytes, length, at);
  pthread_mutex_unlock(&lock);
  return done;
}

static int faulty_sync(int fd, long call) {
  struct file *file = take(fd);
  if (file == NULL) return syscall(call, fd);
  if (orders->sync_micros > 0) usleep(orders->sync_micros);
  int done = sync_file(file);
  pthread_mutex_unlock(&lock);
  return done;
}

static int faulty_truncate(int fd, off_t length) {
  struct file *file = take(fd);
  if (file == NULL) return syscall(SYS_ftruncate, fd, length);
  int done = truncate_file(file, fd, length);
  pthread_mutex_unlock(&lock);
  return done;
}

static int is_ours(int fd) {
  struct file *file = take(fd);
  if (file != NULL) pthread_mutex_unlock(&lock);
  return file != NULL;
}

static ssize_t faulty_writev(int fd, const struct iovec *pieces, int count, off_t at) {
  ssize_t sum = 0;
  for (int index = 0; index < count; index += 1) {
    off_t place = at < 0 ? -1 : at + sum;
    ssize_t done = faulty_write(fd, pieces[index].iov_base, pieces[index].iov_len, place);
    if (done < 0) return sum > 0 ? sum : done;
    sum += done;
    if ((size_t)done < pieces[index].iov_len) break;
  }
  return sum;
}

ssize_t write(int fd, const void *bytes, size_t length) {
  return faulty_write(fd, bytes, length, -1);
}
ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at) {
  return faulty_write(fd, bytes, length, at);
}
ssize_t pwrite64(int fd, const void *bytes, size_t length, off_t at) {
  return faulty_write(fd, bytes, length, at);
}
ssize_t writev(int fd, const struct iovec *pieces, int count) {
  /* Sockets and pipes need their pieces together. */
  if (!is_ours(fd)) return syscall(SYS_writev, fd, pieces, count);
  return faulty_writev(fd, pieces, count, -1);
}
ssize_t pwritev(int fd, const struct iovec *pieces, int count, off_t at) {
  return faulty_writev(fd, pieces, count, at);
}
ssize_t pwritev64(int fd, const struct iovec *pieces, int count, off_t at) {
  return faulty_writev(fd, pieces, count, at);
}
int fsync(int fd) { return faulty_sync(fd, SYS_fsync); }
int fdatasync(int fd) { return faulty_sync(fd, SYS_fdatasync); }
int ftruncate(int fd, off_t length) { return faulty_truncate(fd, length); }
int ftruncate64(int fd, off_t length) { return faulty_truncate(fd, length); }
int fallocate(int fd, int mode, off_t at, off_t length) {
  if (!is_ours(fd)) return syscall(SYS_fallocate, fd, mode, at, length);
  /* SQLite and LMDB do without it where it is not there. */
  errno = EOPNOTSUPP;
  return -1;
}

static int boot_fd = -1;

static int faulty_open(const char *path, int flags, mode_t mode) {
  int fd = syscall(SYS_openat, AT_FDCWD, path, flags, mode);
  if (orders != NULL && strcmp(path, "/proc/sys/kernel/random/boot_id") == 0) boot_fd = fd;
  return fd;
}

int open(const char *path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  mode_t mode = va_arg(more, mode_t);
  va_end(more);
  return faulty_open(path, flags, mode);
}
int open64(const char *path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  mode_t mode = va_arg(more, mode_t);
  va_end(more);
  return faulty_open(path, flags, mode);
}
ssize_t read(int fd, void *bytes, size_t length) {
  if (fd < 0 || fd != boot_fd) return syscall(SYS_read, fd, bytes, length);
  boot_fd = -1;
  return snprintf(bytes, length, "%08x-0000-4000-8000-000000000000\n", 0xa7011000 + orders->boots);
}
