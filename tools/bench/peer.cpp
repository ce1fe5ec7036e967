#include "tools/bench/peer.h"

#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <stdexcept>
#include <system_error>

namespace sinkstream::bench {

Peer::Peer(const std::vector<std::string>& command) {
  int sockets[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) != 0) {
    throw std::system_error(errno, std::generic_category(), "socketpair");
  }
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, sockets[1], STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, sockets[1], STDOUT_FILENO);
  std::vector<char*> arguments;
  for (const std::string& argument : command) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  const int error = posix_spawnp(&process_, arguments[0], &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(sockets[1]);
  if (error != 0) {
    close(sockets[0]);
    throw std::system_error(error, std::generic_category(), command.front());
  }
  in_ = fdopen(dup(sockets[0]), "w");
  out_ = fdopen(sockets[0], "r");
}

Peer::~Peer() {
  shutdown(fileno(in_), SHUT_WR);
  std::fclose(in_);
  std::fclose(out_);
  waitpid(process_, nullptr, 0);
}

std::string Peer::ask(const std::string& line) {
  std::fputs((line + "\n").c_str(), in_);
  std::fflush(in_);
  std::string answer;
  for (int c = std::fgetc(out_); c != EOF; c = std::fgetc(out_)) {
    if (c == '\n') return answer;
    answer += static_cast<char>(c);
  }
  throw std::runtime_error("the peer ended instead of answering \"" + line + "\"");
}

}  // namespace sinkstream::bench
