/* What any process between a client and a server costs on this machine, at least: a relay that looks at nothing.
 *
 *   relay PORT
 *
 * Prints the port of 127.0.0.1 on which it waits, takes one connection, relays it to PORT, and ends with it. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void must(int done, const char *what) {
  if (done < 0) {
    perror(what);
    exit(1);
  }
}

int main(int count, char **arguments) {
  static char buffer[65536];
  int on = 1;
  socklen_t length = sizeof(struct sockaddr_in);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  if (count != 2)
    return 2;
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  must(bind(listener, (struct sockaddr *)&address, length), "bind");
  must(listen(listener, 1), "listen");
  must(getsockname(listener, (struct sockaddr *)&address, &length), "getsockname");
  printf("%d\n", ntohs(address.sin_port));
  fflush(stdout);
  int client = accept(listener, NULL, NULL);
  must(client, "accept");
  int server = socket(AF_INET, SOCK_STREAM, 0);
  address.sin_port = htons(atoi(arguments[1]));
  must(connect(server, (struct sockaddr *)&address, sizeof address), "connect");
  struct pollfd ends[2] = {{client, POLLIN, 0}, {server, POLLIN, 0}};
  for (int end = 0; end < 2; end++)
    must(setsockopt(ends[end].fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), "TCP_NODELAY");
  for (;;) {
    must(poll(ends, 2, -1), "poll");
    for (int end = 0; end < 2; end++) {
      if (!ends[end].revents)
        continue;
      ssize_t got = recv(ends[end].fd, buffer, sizeof buffer, 0);
      if (got <= 0)
        return 0;
      for (ssize_t sent = 0; sent < got;) {
        ssize_t now = send(ends[1 - end].fd, buffer + sent, got - sent, MSG_NOSIGNAL);
        if (now < 0)
          return 0;
        sent += now;
      }
    }
  }
}
