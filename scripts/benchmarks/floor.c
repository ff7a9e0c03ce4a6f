/*
 * The floor: what a tree of hard links costs if nothing but the system calls is done.
 * Reads NUL-separated paths on stdin, directories end in a slash; makes them below TO, files as links to FROM.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	if (argc != 3)
		errx(2, "usage: floor FROM TO");
	int from = open(argv[1], O_PATH | O_DIRECTORY), to = open(argv[2], O_PATH | O_DIRECTORY);
	if (from < 0 || to < 0)
		err(1, "cannot open %s or %s", argv[1], argv[2]);
	char *path = NULL;
	size_t size = 0;
	ssize_t length;
	while ((length = getdelim(&path, &size, '\0', stdin)) > 0) {
		int is_directory = length > 1 && path[length - 2] == '/';
		if (is_directory ? mkdirat(to, path, 0755) : linkat(from, path, to, path, 0))
			err(1, "%s", path);
	}
	return 0;
}
