// The smallest header alone: every member of Tensor must link, also those that higher layers define.
#include "gradus/tensor.hpp"

using gradus::Tensor;

int main() {
  float memory[2] = {1.0f, 2.0f};
  auto view = Tensor<float>::view_of(memory, {2});  // (2)
  auto x = Tensor<float>::empty({2});               // (2)
  x.fill_(3.0f).zero_().copy_(view);
  x.set({-1}, 4.0f);
  x.mutable_span()[0] = x.span()[1];
  *x.mutable_data() = *view.data();

  auto leaf = x.clone().set_requires_grad();  // (2)
  auto y = leaf * leaf;                       // (2)
  y.backward(Tensor<float>::view_of(memory, {2}), true);
  auto collected = leaf.grad().clone();  // (2)
  leaf.set_grad({});
  gradus::select(y, 0, 1).backward();

  auto sound = x.defined() && x.rank() == 1 && x.size(0) == 2 && x.numel() == 2 && x.shape() == view.shape() &&
               x.strides() == view.strides() && x.device().is_cpu() && x.is_contiguous() && !x.requires_grad();
  auto values = x(0) == 1.0f && x.to_vector()[1] == 4.0f && x.to(x.device()).detach()(1) == 4.0f &&
                gradus::select(x, 0, 1).item() == 4.0f;
  auto gradients = collected(0) == 2.0f && collected(1) == 16.0f && leaf.grad()(0) == 0.0f && leaf.grad()(1) == 8.0f;
  return sound && values && gradients ? 0 : 1;
}
