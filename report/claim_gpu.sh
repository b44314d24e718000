# To be sourced by a job of the sweep. It takes a GPU that no other job has, and waits for one if there is none.
# The lock goes with the job, however that ends. Without GPUs, or with an empty CUDA_VISIBLE_DEVICES, nothing is done.
gpus=$(nvidia-smi ${CUDA_VISIBLE_DEVICES+-i "$CUDA_VISIBLE_DEVICES"} --query-gpu=uuid --format=csv,noheader 2>/dev/null || true)
until [ -z "$gpus" ]; do
    for gpu in $gpus; do
        exec 9>"${TMPDIR:-/tmp}/genlab-$gpu.lock"
        if flock --nonblock 9; then
            export CUDA_VISIBLE_DEVICES=$gpu
            break 2
        fi
    done
    sleep 1
done
