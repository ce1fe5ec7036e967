#include "parallel/communicator/mpi_exchange.h"

#include <algorithm>
#include <array>
#include <stdexcept>

#include "parallel/communicator/communicator.h"
#include "parallel/host/backoff.h"

namespace sinkstream {
namespace {

constexpr int kOperationBits = 2;
constexpr int kTurnsInTag = 1 << 12;                           // tags up to 16383; MPI guarantees 32767
constexpr std::size_t kLargestMessage = std::size_t{1} << 30;  // MPI counts bytes in an int

std::string name_of(int tag) {
  return sinkstream::name_of(static_cast<Operation>(static_cast<std::size_t>(tag) % kOperationNames.size()));
}

std::string name_and_number_of(int tag) {
  return name_of(tag) + " (number " + std::to_string(tag >> kOperationBits) + ")";
}

}  // namespace

void check_mpi(int code, const std::string& what) {
  if (code == MPI_SUCCESS) return;
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  MPI_Error_string(code, text.data(), &length);
  throw std::runtime_error(what + ": " + std::string(text.data(), static_cast<std::size_t>(length)));
}

MpiExchange::MpiExchange(MPI_Comm comm) : comm_(comm) {
  check_mpi(MPI_Comm_rank(comm_, &rank_), "MPI_Comm_rank");
}

void MpiExchange::begin(Operation operation) {
  end_.throw_if_ended();
  if (!requests_.empty()) throw GroupEnded("an earlier operation between the ranks failed");
  turn_ = (turn_ + 1) % kTurnsInTag;
  tag_ = (turn_ << kOperationBits) | static_cast<int>(operation);
}

void MpiExchange::send(int to, std::span<const std::byte> block) {
  do {
    const auto piece = block.first(std::min(block.size(), kLargestMessage));
    MPI_Request* request = add({to, false, piece.size(), nullptr});
    check_mpi(MPI_Isend(piece.data(), static_cast<int>(piece.size()), MPI_BYTE, to, tag_, comm_, request),
              operation_name());
    block = block.subspan(piece.size());
  } while (!block.empty());
}

void MpiExchange::receive(int from, std::span<std::byte> block) {
  do {
    const auto piece = block.first(std::min(block.size(), kLargestMessage));
    receive_piece(from, piece, nullptr);
    block = block.subspan(piece.size());
  } while (!block.empty());
}

void MpiExchange::receive_up_to(int from, std::span<std::byte> block, std::size_t* received) {
  receive_piece(from, block, received);
}

void MpiExchange::receive_piece(int from, std::span<std::byte> piece, std::size_t* received) {
  MPI_Request* request = add({from, true, piece.size(), received});
  check_mpi(
      MPI_Irecv(piece.data(), static_cast<int>(piece.size()), MPI_BYTE, from, MPI_ANY_TAG, comm_, request),
      operation_name());
}

void MpiExchange::wait(std::chrono::microseconds longest_sleep) {
  if (requests_.empty()) return;
  statuses_.resize(requests_.size());
  Backoff backoff(longest_sleep);
  while (true) {
    int done = 0;
    const int code =
        MPI_Testall(static_cast<int>(requests_.size()), requests_.data(), &done, statuses_.data());
    if (code == MPI_ERR_IN_STATUS) throw_failed();
    check_mpi(code, operation_name());
    if (done) break;
    end_.throw_if_ended();
    backoff.pause();
  }
  for (std::size_t i = 0; i < posted_.size(); ++i) {
    if (posted_[i].receives) check_received(posted_[i], statuses_[i]);
  }
  posted_.clear();
  requests_.clear();
}

bool MpiExchange::whole() const {
  return !end_.has_ended() && requests_.empty();
}

std::string MpiExchange::operation_name() const {
  return name_of(tag_);
}

MPI_Request* MpiExchange::add(const Posted& posted) {
  posted_.push_back(posted);
  return &requests_.emplace_back(MPI_REQUEST_NULL);
}

void MpiExchange::throw_failed() const {
  for (std::size_t i = 0; i < posted_.size(); ++i) {
    const MPI_Status& status = statuses_[i];
    if (status.MPI_ERROR == MPI_SUCCESS || status.MPI_ERROR == MPI_ERR_PENDING) continue;
    if (posted_[i].receives && status.MPI_TAG >= 0) check_same_operation(posted_[i], status);
    check_mpi(status.MPI_ERROR, operation_name() + " with rank " + std::to_string(posted_[i].peer));
  }
  throw std::runtime_error(operation_name() + ": MPI reports an error but not which");
}

void MpiExchange::check_same_operation(const Posted& posted, const MPI_Status& status) const {
  if (status.MPI_TAG == tag_) return;
  throw std::logic_error("the ranks have drifted apart: rank " + std::to_string(posted.peer) + " is in " +
                         name_and_number_of(status.MPI_TAG) + ", rank " + std::to_string(rank_) + " in " +
                         name_and_number_of(tag_));
}

void MpiExchange::check_received(const Posted& posted, const MPI_Status& status) const {
  check_same_operation(posted, status);
  int count = 0;
  check_mpi(MPI_Get_count(&status, MPI_BYTE, &count), operation_name());
  const auto bytes = static_cast<std::size_t>(count);
  if (posted.received != nullptr) {
    *posted.received = bytes;
  } else if (bytes != posted.bytes) {
    throw std::logic_error(operation_name() + ": rank " + std::to_string(posted.peer) + " sent " +
                           std::to_string(bytes) + " bytes where rank " + std::to_string(rank_) +
                           " expects " + std::to_string(posted.bytes));
  }
}

}  // namespace sinkstream
