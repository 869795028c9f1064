// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A vector whose copies share their elements until one of them changes its own.
#ifndef SNUG_PASSES_CHUNK_SHAREDVECTOR_H
#define SNUG_PASSES_CHUNK_SHAREDVECTOR_H

#include <cstddef>
#include <iterator>
#include <memory>
#include <utility>
#include <vector>

namespace snug {

/// As std::vector, as far as it goes. Access through a const vector never copies; through another one it copies an
/// element that is shared, so that a reference that it gave is not to be written to after the vector was copied.
template <class T> class SharedVector {
public:
  template <class Vector, class Element> class Iterator {
  public:
    using iterator_category = std::forward_iterator_tag;
    using value_type = T;
    using difference_type = std::ptrdiff_t;
    using pointer = Element *;
    using reference = Element &;

    Iterator() = default;
    Iterator(Vector *vector, size_t at) : vector(vector), at(at) {}
    Element &operator*() const { return (*vector)[at]; }
    Element *operator->() const { return &(*vector)[at]; }
    Iterator &operator++() {
      ++at;
      return *this;
    }
    Iterator operator++(int) { return {vector, at++}; }
    bool operator==(const Iterator &o) const { return at == o.at; }
    bool operator!=(const Iterator &o) const { return at != o.at; }

  private:
    Vector *vector = nullptr;
    size_t at = 0;
  };
  using iterator = Iterator<SharedVector, T>;
  using const_iterator = Iterator<const SharedVector, const T>;

  size_t size() const { return elements.size(); }
  bool empty() const { return elements.empty(); }
  const T &operator[](size_t i) const { return *elements[i]; }
  T &operator[](size_t i) {
    if (elements[i].use_count() > 1)
      elements[i] = std::make_shared<T>(*elements[i]);
    return *elements[i];
  }
  const T &back() const { return *elements.back(); }
  T &back() { return (*this)[size() - 1]; }
  const_iterator begin() const { return {this, 0}; }
  const_iterator end() const { return {this, size()}; }
  iterator begin() { return {this, 0}; }
  iterator end() { return {this, size()}; }

  void push_back(T element) { elements.push_back(std::make_shared<T>(std::move(element))); }
  T &emplace_back() { return *elements.emplace_back(std::make_shared<T>()); }
  void resize(size_t size) {
    while (elements.size() > size)
      elements.pop_back();
    while (elements.size() < size)
      emplace_back();
  }
  /// Puts the elements in this order (their present indices).
  void reorder(const std::vector<int> &order) {
    std::vector<std::shared_ptr<T>> ordered;
    ordered.reserve(order.size());
    for (int element : order)
      ordered.push_back(std::move(elements[element]));
    elements = std::move(ordered);
  }

private:
  std::vector<std::shared_ptr<T>> elements;
};

} // namespace snug

#endif
